"""What do imports, start-up and memory of a training run cost?"""
