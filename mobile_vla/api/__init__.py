"""What `import mobile_vla as mv` offers: the commands' work in a notebook, in the same few words.

`mobile_vla/__init__.py` imports each name from here when it is first used.
"""
