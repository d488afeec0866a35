"""Whether the context of one store is clear: rules, tests and the three verdicts.

Each verdict is two files: one that measures (`chunk_fit`, `decoding`, `following` and `shown`), and one that concludes
by the rules of `verdict` and says why (`preserving`, `discriminative`, `instruction_part` and `image_part`, which
`actionable` combines). `judgement` asks for all of them: a further
verdict is two more such files, and a field there.
"""
