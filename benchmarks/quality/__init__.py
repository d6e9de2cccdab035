"""How well do the models reconstruct and embed images?"""
