from glob import glob

from setuptools import find_packages, setup

NAME = "pstmo_ros"

setup(
    name=NAME,
    version="0.1.0",
    description="2D human keypoints from any detector to metric 3D skeletons, live: P-STMO as a ROS 2 node",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["models/*.safetensors", "samples/*.npz"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/lifter.*")),
        (f"share/{NAME}/config/adapters", glob("config/adapters/*.yaml")),
    ],
    python_requires=">=3.10",
    install_requires=[
        "setuptools",
        "torch>=2.5,<3",
        "numpy>=1.21",
        "scipy>=1.8",
        "safetensors>=0.4",
        "PyYAML",
        "tqdm",
    ],
    extras_require={
        "cpu": ["openvino>=2024.6", "packaging"],  # which openvino converts with, and does not ask for
        "bags": ["rosbags>=0.11"],
        "demo": ["matplotlib>=3.8", "imageio-ffmpeg"],
        "training": ["matplotlib>=3.8", "tensorboard"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            f"lifter = {NAME}.ros.start:lifter",
            f"player = {NAME}.ros.start:player",
            f"lift = {NAME}.lift:main",
            f"compile = {NAME}.engines.compile:main",
        ]
    },
)
