"""OCI image layouts, written without any engine; shared by the scripts beside it."""

import hashlib
import json
import os
import struct
import zlib

EPOCH_SECONDS = 315619200  # 1980-01-02: zip cannot say anything earlier
CREATED = "1980-01-02T00:00:00Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def gzip_stored(content):
    """RFC 1952 around RFC 1951's stored blocks: no compression, so no choices."""
    parts = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    for start in range(0, len(content), 0xFFFF):
        block = content[start : start + 0xFFFF]
        last = start + 0xFFFF >= len(content)
        parts.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    parts.append(struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF))
    return b"".join(parts)


class Layout:
    def __init__(self, folder):
        self.folder = folder
        self.blobs = os.path.join(folder, "blobs", "sha256")
        os.makedirs(self.blobs, exist_ok=True)

    def add(self, media_type, content):
        if not isinstance(content, bytes):
            content = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        name = hashlib.sha256(content).hexdigest()
        self.write(os.path.join(self.blobs, name), content)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(content)}

    def write(self, path, content):
        if os.path.exists(path):
            with open(path, "rb") as file:
                if file.read() == content:
                    return
        with open(path + ".part", "wb") as file:
            file.write(content)
        os.replace(path + ".part", path)

    def add_image(self, architecture, tar, blob, command, created_by):
        """An image of one layer: `blob` is `tar`, compressed. Its descriptor, for an index."""
        config = self.add(CONFIG, {
            "architecture": architecture,
            "os": "linux",
            "created": CREATED,
            "config": {"Cmd": command, "Env": [PATH]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
            "history": [{"created": CREATED, "created_by": created_by}],
        })  # fmt: skip
        manifest = self.add(MANIFEST, {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [self.add(LAYER, blob)],
        })  # fmt: skip
        return {**manifest, "platform": {"architecture": architecture, "os": "linux"}}

    def finish(self, manifests):
        """Writes the index, tagged `latest`, and removes what no manifest names. Its digest."""
        index = self.add(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
        annotated = {**index, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
        self.write(os.path.join(self.folder, "oci-layout"), b'{"imageLayoutVersion":"1.0.0"}')
        self.write(
            os.path.join(self.folder, "index.json"),
            json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [annotated]}, sort_keys=True).encode(),
        )
        kept = {m["digest"].split(":")[1] for m in [*manifests, index]}
        for manifest in manifests:
            with open(os.path.join(self.blobs, manifest["digest"].split(":")[1])) as file:
                body = json.load(file)
            kept |= {d["digest"].split(":")[1] for d in [body["config"], *body["layers"]]}
        for name in os.listdir(self.blobs):
            if name not in kept:
                os.remove(os.path.join(self.blobs, name))
        return index["digest"]
