"""Starts the node on a camera's topic: `ros2 launch samedge_ros follow.launch.py image:=/image`."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """The node, with its topics and parameters."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("image", default_value="/image_raw"),
            DeclareLaunchArgument("bundle", default_value=""),
            Node(
                package="samedge_ros",
                executable="follow",
                name="samedge",
                remappings=[("image", LaunchConfiguration("image"))],
                parameters=[{"bundle": LaunchConfiguration("bundle")}],
            ),
        ]
    )
