"""How do time and memory grow with the images, their side, and the batch size?"""
