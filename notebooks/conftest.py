"""nbval compares HTML as text; the picture inside a figure's `<img>` differs between machines in its last pixels, so it is
left out of the comparison. Its alternative text is compared."""

from pathlib import Path


def pytest_configure(config):
    if config.pluginmanager.hasplugin("nbval") and not config.option.nbval_sanitize_with:
        config.option.nbval_sanitize_with = str(Path(__file__).with_name("nbval.cfg"))
