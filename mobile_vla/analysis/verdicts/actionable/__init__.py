"""Does the policy act on what it is told and shown?"""
