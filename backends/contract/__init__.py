"""The REST contract that both servers keep (DESIGN section 8) and the texts of the protocol (docs/protocol.md), pure.

One layer decides for both, so that the same request gives the same bytes on both: canonical JSON
(:mod:`.canonical`), ids (:mod:`.ids`), errors (:mod:`.problems`), preconditions (:mod:`.conditions`), what a write
makes of a record (:mod:`.writes`), the protocol's headers (:mod:`.numbers`), queries (:mod:`.querystring`)
and answers (:mod:`.answers`). No socket, clock or disk: the time and random bytes are arguments.
"""
