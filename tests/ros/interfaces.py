"""Real ROS message classes from the definitions in tests/ros/fixtures: other packages' types, without installing them.

The generators come with rclpy's wheels and with every ROS 2 installation. The Python classes need nothing else;
sending them over DDS needs type support, which is compiled where there is a C++ compiler.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import numpy as np
from ament_index_python import get_package_prefix

FIXTURES = Path(__file__).parent / "fixtures"
_COMPILER = shutil.which(os.environ.get("CXX", "c++"))
NO_COMPILER = "" if _COMPILER else "sending messages of other packages over DDS needs a C++ compiler, and there is none"
_USED = ("std_msgs", "geometry_msgs", "builtin_interfaces")
# One shared object holds everything, so type support is picked here instead of being looked up among libraries.
_PICK = """
#include <cstring>
#include <initializer_list>
#include "rosidl_runtime_c/message_type_support_struct.h"
typedef const rosidl_message_type_support_t * Handle;
template<Handle (*fast)(), Handle (*introspection)()>
static Handle pick(Handle self, const char * wanted) {
  for (Handle h : {fast(), introspection()})
    if (!std::strcmp(h->typesupport_identifier, wanted)) return h;
  return std::strcmp("rosidl_typesupport_c", wanted) ? nullptr : self;
}
"""
_PICK_ONE = """
extern "C" Handle rosidl_typesupport_fastrtps_c__%(symbol)s();
extern "C" Handle rosidl_typesupport_introspection_c__%(symbol)s();
extern "C" Handle rosidl_typesupport_c__%(symbol)s() {
  static rosidl_message_type_support_t one = *rosidl_typesupport_fastrtps_c__%(symbol)s();
  one.typesupport_identifier = "rosidl_typesupport_c";
  one.func = pick<rosidl_typesupport_fastrtps_c__%(symbol)s, rosidl_typesupport_introspection_c__%(symbol)s>;
  return &one;
}
"""


def message_classes(package: str, folder: Path, over_dds: bool = False) -> ModuleType:
    """The module PACKAGE.msg, generated into ``folder`` (once); with type support when ``over_dds``."""
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)  # where the wheels put what the generators look for
    out = folder / package
    if not out.exists():
        idl = _definitions(package, out)
        _generate(package, idl, out, over_dds)
        if over_dds:
            _compile(package, [Path(i).stem for i in idl], out)
        (out / "__init__.py").touch()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(f"{package}.msg")


def _definitions(package: str, out: Path) -> list[str]:
    from rosidl_adapter.msg import convert_msg_to_idl

    source, idl = FIXTURES / package, out / "idl"
    for path in sorted((source / "msg").glob("*.msg")):
        convert_msg_to_idl(source, package, path.relative_to(source), idl / "msg")
    return [f"{idl}:msg/{path.name}" for path in sorted((idl / "msg").glob("*.idl"))]


def _generate(package: str, idl: list[str], out: Path, over_dds: bool) -> None:
    # The classes behind `rosidl generate`: that command stumbles over the wheels, which list each of them twice.
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    generators = [GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"])]
    if over_dds:
        generators += [
            GenerateC("c"),
            GenerateFastRTPSCTypesupport("fastrtps_c"),
            GenerateIntrospectionCTypesupport("introspection_c"),
        ]
    shares = [str(Path(get_package_prefix(name)) / "share") for name in _USED]
    for generator in generators:
        generator.generate(package, idl, shares, out)


def _compile(package: str, names: list[str], out: Path) -> None:
    symbols = [f"get_message_type_support_handle__{package}__msg__{name}" for name in names]
    (out / "pick.cpp").write_text(_PICK + "".join(_PICK_ONE % {"symbol": s} for s in symbols))
    prefix = Path(get_package_prefix("std_msgs"))
    includes = [out.parent, sysconfig.get_paths()["include"], np.get_include(), prefix / "include"]
    includes += [folder for folder in (prefix / "include").iterdir() if folder.is_dir()]
    flags = ["-fPIC", "-O0", "-w", *(f"-I{folder}" for folder in includes)]
    objects = []
    for source in [*_together(out), *out.rglob("*__description.c")]:
        objects.append(Path(f"{source}.o"))
        language = ["-x", "c"] if source.suffix == ".c" else ["-std=c++17"]
        subprocess.run([_COMPILER, *language, *flags, "-c", source, "-o", objects[-1]], check=True)
    libraries = [f"{name}__{part}" for name in _USED for part in
                 ("rosidl_generator_c", "rosidl_generator_py", "rosidl_typesupport_fastrtps_c",
                  "rosidl_typesupport_introspection_c")]  # fmt: skip
    libraries += ["rosidl_runtime_c", "rosidl_typesupport_fastrtps_c", "rosidl_typesupport_fastrtps_cpp",
                  "rosidl_typesupport_introspection_c", "fastcdr", "rmw"]  # fmt: skip
    target = out / f"{package}_s__rosidl_typesupport_c.so"
    link = [f"-L{prefix / 'lib'}", f"-Wl,-rpath,{prefix / 'lib'}", *(f"-l{name}" for name in libraries)]
    subprocess.run([_COMPILER, "-shared", "-o", target, *objects, *link], check=True)


def _together(out: Path) -> list[Path]:
    """Sources that include all others of their kind: the headers take longer to compile than what uses them."""
    for suffix in (".c", ".cpp"):
        parts = [path for path in sorted(out.rglob(f"*{suffix}")) if not path.name.endswith("__description.c")]
        (out / f"together{suffix}").write_text("".join(f'#include "{path}"\n' for path in parts))
    return [out / "together.c", out / "together.cpp"]
