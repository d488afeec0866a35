"""Does the context hold what the next actions depend on?"""
