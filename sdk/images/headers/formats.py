"""Formats of images, recognised by their first bytes."""

FORMATS = "JPEG, PNG, WebP, BMP, TIFF or GIF"
"""Formats that are read, for messages."""

HEIF_FORMATS = frozenset({"HEIC", "AVIF"})
"""Formats that pillow-heif reads if it is installed."""

_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"crx ": "RAW",
}

_STARTS = {
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "Photoshop",
    b"II+\0": "BigTIFF",
    b"MM\0+": "BigTIFF",
    b"FUJIFILMCCD-RAW": "RAW",
    b"IIU\0": "RAW",
    b"IIRO": "RAW",
    b"IIRS": "RAW",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
}


def is_readable(head: bytes) -> bool:
    """Tell whether a file with these first bytes has one of `FORMATS`."""
    return (
        head[:3] == b"\xff\xd8\xff"
        or head[:8] == b"\x89PNG\r\n\x1a\n"
        or head[:6] in (b"GIF87a", b"GIF89a")
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:4] in (b"II*\0", b"MM\0*") and head[8:10] != b"CR")
        or (head[:2] == b"BM" and head[6:10] == bytes(4) and head[15:18] == bytes(3))
    )


def foreign_format(head: bytes) -> str:
    """Return the name of an image format that is not one of `FORMATS`, by the first bytes; empty if it is no image."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "")
    for start, name in _STARTS.items():
        if head.startswith(start):
            return name
    if b"<svg" in head[:256]:
        return "SVG"
    return ""


def advice_for(foreign: str) -> str:
    """Return what to do with a file of a format that `foreign_format` names."""
    if foreign in HEIF_FORMATS:
        return "`pip install pillow-heif` to read it, or save it as JPEG"
    return "save it as JPEG or PNG"
