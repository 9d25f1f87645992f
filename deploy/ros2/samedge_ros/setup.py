"""Installs the node with `colcon build`."""

from setuptools import setup

setup(
    name="samedge_ros",
    version="0.1.0",
    packages=["samedge_ros"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/samedge_ros"]),
        ("share/samedge_ros", ["package.xml"]),
        ("share/samedge_ros/launch", ["launch/follow.launch.py"]),
    ],
    install_requires=["setuptools", "samedge"],
    entry_points={"console_scripts": ["follow = samedge_ros.node:main"]},
    license="Apache-2.0",
)
