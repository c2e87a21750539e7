"""From an opened bundle to an answer: engines, sessions, sampling, generation, chat."""
