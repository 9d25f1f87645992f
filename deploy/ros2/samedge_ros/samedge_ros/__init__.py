"""A ROS 2 node around samedge's tracker."""
