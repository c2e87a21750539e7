"""What runs in the interpreter that has MindSpore or MindSpore Lite.

Everything here runs on Python 3.7 and newer with NumPy alone, and imports nothing else of glmlite:
that interpreter need not have glmlite installed. `worker.py` is the process's main loop.
"""
