"""The chat in the terminal: conversation, slash commands, answers, line editing."""
