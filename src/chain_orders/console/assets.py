"""The console's own files: one stylesheet, one script, one icon. Named by their content, so that they may be kept."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "static"
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FILES = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _KINDS}
_VERSIONS = {name: sha256(content).hexdigest()[:12] for name, content in _FILES.items()}


def address(name: str) -> str:
    """Where a file is served; another content has another address."""
    return f"/console/static/{name}?v={_VERSIONS[name]}"


async def serve(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404)
    current = request.query_params.get("v") == _VERSIONS[name]
    kept = "public, max-age=31536000, immutable" if current else "no-cache"
    return Response(_FILES[name], headers={"Content-Type": _KINDS[Path(name).suffix], "Cache-Control": kept})
