"""Key files: 32 random bytes that only their owner reads."""

import os
from pathlib import Path

from domain.kernel import Text, Unavailable

KEY_BYTES = 32


def read_key(path: Path) -> bytes:
    """The key in a file, made on first use; two processes that do so at once get the same one.

    Raises Unavailable for a file that cannot be read or written, is readable by others, or holds no such key.
    """
    try:
        if not path.exists():
            _create(path)
        if _open_to_others(path.stat()):
            zh = f"密钥文件 {path} 对其他用户可读；请执行 chmod 600 {path}"
            raise Unavailable(Text(zh, f"others can read the key file {path}: chmod 600 {path}"))
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise Unavailable(
            Text(f"无法使用密钥文件 {path}：{error}", f"the key file {path} cannot be used: {error}")
        ) from error
    if len(key) != KEY_BYTES:
        zh = f"密钥文件 {path} 应为 {KEY_BYTES} 字节的十六进制数"
        raise Unavailable(Text(zh, f"the key file {path} should hold {KEY_BYTES} bytes in hexadecimal"))
    return key


def _open_to_others(found: os.stat_result) -> bool:
    """Whether more than their owner read a file; root's may be read by a group, as PostgreSQL has it with its keys.

    An orchestrator lays secrets down as root's, with a group for whoever runs in the container.
    """
    return bool(found.st_mode & (0o037 if found.st_uid == 0 else 0o077))


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{os.urandom(KEY_BYTES).hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        # A link appears with its content or not at all, and the first process wins.
        os.link(whole, path)
    except FileExistsError:
        pass
    finally:
        whole.unlink()
