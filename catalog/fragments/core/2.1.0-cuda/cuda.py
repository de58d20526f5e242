"""NVIDIA's CUDA runtime, by ctypes: its version, its devices, a round trip through device memory."""

import ctypes
import importlib.util
import os
import sys


def library():
    spec = importlib.util.find_spec("nvidia.cuda_runtime")
    folder = next(iter(spec.submodule_search_locations))
    return ctypes.CDLL(os.path.join(folder, "lib", "libcudart.so.12"))


class CUDAError(RuntimeError):
    pass


class Runtime:
    def __init__(self):
        self.library = library()
        self.library.cudaGetErrorString.restype = ctypes.c_char_p

    def call(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code != 0:
            raise CUDAError(f"{name}: {self.library.cudaGetErrorString(code).decode()} ({code})")

    def number(self, name):
        value = ctypes.c_int()
        self.call(name, ctypes.byref(value))
        return value.value

    @property
    def version(self):
        number = self.number("cudaRuntimeGetVersion")
        return f"{number // 1000}.{number % 1000 // 10}"

    def round_trip(self, data):
        """Writes `data` to device memory and reads it back."""
        pointer = ctypes.c_void_p()
        self.call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(len(data)))
        try:
            self.call("cudaMemcpy", pointer, data, ctypes.c_size_t(len(data)), ctypes.c_int(1))
            result = ctypes.create_string_buffer(len(data))
            self.call("cudaMemcpy", result, pointer, ctypes.c_size_t(len(data)), ctypes.c_int(2))
            return result.raw
        finally:
            self.call("cudaFree", pointer)


def main(what):
    runtime = Runtime()
    if what == "runtime":
        print(f"CUDA runtime {runtime.version}")
        return
    print(f"{runtime.number('cudaGetDeviceCount')} devices, driver for CUDA {runtime.number('cudaDriverGetVersion')}")
    data = bytes(range(256)) * 4096
    if runtime.round_trip(data) != data:
        sys.exit("device memory gave back something else")
    print("device memory gave back what was written")


if __name__ == "__main__":
    main(sys.argv[1])
