"""Is NCHW faster than NHWC on this device, and why?"""
