"""A trained model as a compiled file: what `ros2 run pstmo_ros compile` does, from the source tree.

python -m training.export MODEL --engine tensorrt|openvino|torch [--precision fp32|fp16|bf16|int8] [-o FILE]
"""

from pstmo_ros.engines.compile import main

if __name__ == "__main__":
    main()
