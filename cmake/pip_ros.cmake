# Included by CMake after project() (colcon.meta sets CMAKE_PROJECT_INCLUDE). Does nothing with apt ROS.
#
# The ROS 2 wheels were built in a manylinux container, and the exported <pkg>__rosidl_generator_py
# targets still name that container's Python headers (/opt/python/cpXY-cpXY/include/pythonX.Y). CMake
# refuses imported targets whose include directory does not exist: drop those entries before generation.
if(CMAKE_VERSION VERSION_LESS 3.19)
  message(FATAL_ERROR "CMake ${CMAKE_VERSION} is too old: 3.19 or newer is needed")
endif()

function(_pip_ros_drop_missing_includes)
  get_property(_targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(_target IN LISTS _targets)
    get_target_property(_directories ${_target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT _directories)
      continue()
    endif()
    set(_kept "")
    foreach(_directory IN LISTS _directories)
      if(EXISTS "${_directory}" OR NOT _directory MATCHES "^/opt/python/")
        list(APPEND _kept "${_directory}")
      endif()
    endforeach()
    set_target_properties(${_target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_kept}")
  endforeach()
endfunction()
cmake_language(DEFER CALL _pip_ros_drop_missing_includes)
