"""What a GLM is: its configuration, parameter names and shapes."""
