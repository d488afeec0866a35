"""Where the configuration files lie: inside the installed package, or beside it in a checkout."""

from pathlib import Path

import mobile_vla


def find_conf_folder() -> Path:
    """The absolute path of the folder that holds `<command>.yaml` and the groups."""
    package = Path(mobile_vla.__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"
