"""Does the context tell situations apart?"""
