from setuptools import find_packages, setup

package_name = 'resfit_policy'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    package_data={package_name: ['py.typed', 'config/*/*.yaml', 'page.html']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        ('share/' + package_name, ['package.xml']),
    ],
    install_requires=['setuptools'],
    zip_safe=True,
    maintainer='ResFiT maintainers',
    maintainer_email='maintainers@resfit.invalid',
    description='What runs on the robot: frozen base policy, residual actor, supervisor, streamer, episodes.',
    license='Apache-2.0',
    extras_require={'test': ['hypothesis', 'pytest']},
    entry_points={
        'console_scripts': [
            'base_server_node = resfit_policy.start:base_server_node',
            'controllers_node = resfit_policy.start:controllers_node',
            'policy_node = resfit_policy.start:policy_node',
            'reward_node = resfit_policy.start:reward_node',
            'streamer_node = resfit_policy.start:streamer_node',
            'watch_node = resfit_policy.start:watch_node',
            'joystick_node = resfit_policy.start:joystick_node',
            'web_node = resfit_policy.start:web_node',
            'classifier_node = resfit_policy.start:classifier_node',
        ]
    },
)
