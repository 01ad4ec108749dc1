# SPDX-License-Identifier: Apache-2.0
"""Build the null GPU: a CUDA runtime, cuBLAS and driver that answer and compute nothing.

PYTHON build.py OUT     leaves OUT/libnull.so, OUT/libcuda.so.1 and OUT/run. PYTHON has PyTorch's
                        CUDA build, whose wheels bring the CUDA headers; gcc and nm are needed.
OUT/run -m pytest ...   runs that Python with one pretended H100.
"""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
SITE = Path(sysconfig.get_paths()["purelib"])
CUDA_CALL = r" ((?:__cuda|cuda[A-Z]|cublas|cusolver|cusparse)\w*)"
DRIVER_CALL = (
    r"\b(cu(?:Init|Device|Ctx|Module|Func|Launch|Tensor|Occupancy|GetError|Pointer|Mem|Stream|Event"
    r"|Library|Kernel|Driver|Link)[A-Za-z0-9]*(?:_v\d)?)\b"
)


def undefined(library: Path, pattern: str) -> set[str]:
    """Functions that a library expects from others."""
    command = ["nm", "-D", "--undefined-only", str(library)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(re.findall(pattern, listed.stdout))


def build(out: Path, name: str, expected: set[str], *options: str) -> None:
    """Compile NAME.c; functions that it does not define return 0, which is success."""
    source = HERE / f"{name}.c"
    defined = set(re.findall(r"^X [^(]*?(\w+)\(", source.read_text(), re.M))
    stubs = [f"X long {function}(void) {{ return 0; }}" for function in sorted(expected - defined)]
    (out / f"{name}_stubs.h").write_text("\n".join(stubs) + "\n")
    headers = [f"-I{path}" for path in (out, *SITE.glob("nvidia/cu*/include"))]
    command = ["gcc", "-shared", "-fPIC", "-O1", "-w", *headers, str(source), *options]
    subprocess.run(command, check=True)


def main() -> None:
    out = Path(sys.argv[1]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    names = ("torch_cuda", "torch_cuda_linalg", "c10_cuda", "torch_python")
    libraries = [SITE / "torch" / "lib" / f"lib{name}.so" for name in names]
    calls = set().union(*(undefined(library, CUDA_CALL) for library in libraries))
    build(out, "runtime", calls, "-o", str(out / "libnull.so"))
    triton = [SITE / "triton/backends/nvidia" / name for name in ("driver.c", "driver.py")]
    calls = undefined(SITE / "torch" / "lib" / "libcaffe2_nvrtc.so", r" (cu[A-Z]\w*)")
    calls |= {call for path in triton for call in re.findall(DRIVER_CALL, path.read_text())}
    build(out, "driver", calls, "-Wl,-soname,libcuda.so.1", "-o", str(out / "libcuda.so.1"))
    link = out / "libcuda.so"
    link.unlink(missing_ok=True)
    link.symlink_to("libcuda.so.1")
    run = out / "run"
    run.write_text(
        f"#!/bin/sh\nexport LD_PRELOAD={out}/libnull.so LD_LIBRARY_PATH={out} LIBRARY_PATH={out}"
        f' NULL_GPU={out}\nexec {sys.executable} "$@"\n'
    )
    run.chmod(0o755)


if __name__ == "__main__":
    main()
