"""From two lists of names and shapes to pairs: the steps of the matcher, pure and without torch.

tensors --> prefixes --> equal names --> leaf modules --> blocks --> evidence --> Plan
"""
