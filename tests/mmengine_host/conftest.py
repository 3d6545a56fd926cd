from functools import cache

import pytest


@pytest.fixture(autouse=True, scope="session")
def _what_stays_the_same_is_done_once():
    """Each Runner asks compilers for their versions; the config is formatted for each checkpoint.

    Either takes as long as a small training.
    """
    from mmengine.config import config
    from mmengine.runner import runner

    asked, formatted = runner.collect_env, config.FormatCode
    kept = {}

    def once(text, **options):
        key = text, repr(options)
        if key not in kept:
            kept[key] = formatted(text, **options)
        return kept[key]

    runner.collect_env, config.FormatCode = cache(asked), once
    yield
    runner.collect_env, config.FormatCode = asked, formatted
