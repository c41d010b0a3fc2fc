from setuptools import find_packages, setup

package_name = 'resfit_sim'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    package_data={package_name: ['py.typed']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        ('share/' + package_name, ['package.xml']),
    ],
    install_requires=['setuptools'],
    zip_safe=True,
    maintainer='ResFiT maintainers',
    maintainer_email='maintainers@resfit.invalid',
    description='The simulated Dexmate Vega: model, tasks, experts, Gymnasium environments and node.',
    license='Apache-2.0',
    extras_require={'test': ['pytest']},
    entry_points={'console_scripts': ['sim_node = resfit_sim.start:sim_node']},
)
