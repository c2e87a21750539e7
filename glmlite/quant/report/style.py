"""How the report looks: plain, on light and dark screens and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --panel: #f5f6f8; --ink: #1d2127; --soft: #5c6570; --line: #d5d9df;
  --bar: #cfe0f3;
  --c0: #1f6fb4; --c1: #c2491d; --c2: #2c8048; --c3: #8047a8; --c4: #8b6b00; --c5: #00808a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15181c; --panel: #1e2329; --ink: #e4e8ed; --soft: #98a2ae; --line: #353c45;
    --bar: #24405e;
    --c0: #6db3f2; --c1: #f08a5d; --c2: #6fcf8e; --c3: #c59bea; --c4: #d9b84a; --c5: #5ccdd6;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 66rem;
  background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "PingFang SC",
    "Noto Sans CJK SC", "Microsoft YaHei", sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
.soft, figcaption { color: var(--soft); }
.verdict { font-size: 1.1rem; margin: 1.2rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem; }
.card { background: var(--panel); border-radius: 8px; padding: .8rem 1rem; }
.card b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
.card span { display: block; }
.card .soft { font-size: .85rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.4rem; }
.plots.three { grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
figure { margin: .8rem 0 0; }
figure b { display: block; }
figcaption { font-size: .85rem; }
svg { display: block; width: 100%; height: auto; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .85rem; margin-top: .2rem; }
.legend i { display: inline-block; width: 1.1em; height: .25em; margin-right: .4em;
  vertical-align: middle; border-radius: 2px; }
.scroll { overflow-x: auto; margin-top: .6rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td .bar { display: block; padding: 0 .35rem; margin-left: auto; min-width: 5rem;
  border-radius: 3px; }
summary { cursor: pointer; margin-top: .8rem; }
code { font: .9em ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; }
@media print { body { max-width: none; padding: 0; } }
"""
