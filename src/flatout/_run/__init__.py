"""One run from its start to its end: what the user sees of it, and what brings source, dispatcher and workers together.

`Run` is its face, `_engine` puts it together and goes from plan to plan, `_driver` is the one loop that blocks; `_hosts`,
`_shared_host` and `_residence` say where that loop lives, `_hiring` and `_inside` start its workers, `_inputs` draws.
"""
