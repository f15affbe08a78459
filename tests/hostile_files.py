"""Image files as bytes: encoded ones, and ones that must be refused."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encoded(image, kind, **options):
    """Return a Pillow image as the content of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, rows, depth=8, colour=2, chunks=b""):
    """Return a PNG file from its parts, whatever size its header claims."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + body + chunk(b"IEND", b"")


def many_scans(scans, side=64):
    """Return a progressive JPEG whose last scan is repeated until it has this many scans."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    content = encoded(Image.fromarray(pixels), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    # the tables of a scan stand before its marker and remain valid
    scan = content[last:-2]
    return content[:-2] + scan * (scans - content.count(b"\xff\xda")) + content[-2:]


def hostile(halves):
    """Return `{name: content}` of files that must be refused. halves: a small Pillow image."""
    rng = np.random.default_rng(0)
    text = b"zTXt" + b"a\0\0" + zlib.compress(b"a" * 10_000_000, 9)
    text = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    files = {
        "empty.png": b"",
        "noise.jpg": rng.bytes(5000),
        "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "page.png": b"<!doctype html><title>not an image</title><script>alert(1)</script>",
        "script.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        "pdf.jpg": b"%PDF-1.7\n",
        "bomb.png": png(30_000, 30_000, b"\0"),
        "bomb_13000.png": png(13_000, 13_000, b"\0"),
        "bomb.gif": b"GIF89a" + struct.pack("<2H", 65_000, 65_000) + bytes(3) + encoded(halves, "GIF")[13:],
        "bomb.bmp": b"BM" + struct.pack("<IHHIIiiHH6I", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
        "no_width.png": png(0, 10, b""),
        "text_bomb.png": png(4, 4, b"\0" * 52, chunks=text),
        "missing_rows.png": png(500, 500, b"\0" * 100),
        "scans.jpg": many_scans(300),
    }
    whole = {
        "png": encoded(halves, "PNG"),
        "jpg": encoded(halves, "JPEG"),
        "webp": encoded(halves, "WEBP"),
        "tif": encoded(halves, "TIFF", compression="tiff_lzw"),
    }
    for kind, content in whole.items():
        files[f"header_only.{kind}"] = content[:20]
    return files
