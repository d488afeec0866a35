"""`python -m benchmarks.gpu` (`make gpu-check`): all that only a GPU can tell, measured within some minutes.

plan      which sections there are, the most worth first
running   each in its turn, in a process that may die, within what is left of the time
sections  one file each: what is measured
bench     what sections share: the device, the sizes, the policy that is on the device
goals     what is to be reached
page      what was found, as a page
"""
