from glob import glob

from setuptools import find_packages, setup

package_name = 'resfit_bringup'
share = 'share/' + package_name

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    package_data={package_name: ['py.typed']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        (share, ['package.xml']),
        (share + '/config', glob('config/*')),
        (share + '/description', glob('description/*')),
        (share + '/hook', glob('hook/*')),
        (share + '/launch', glob('launch/*.launch.py')),
    ],
    install_requires=['setuptools'],
    zip_safe=True,
    maintainer='ResFiT maintainers',
    maintainer_email='maintainers@resfit.invalid',
    description='Configuration, robot description, controllers, RViz, launch graph and the resfit command.',
    license='Apache-2.0',
    extras_require={'test': ['pytest']},
    entry_points={'console_scripts': ['resfit = resfit_bringup.cli:main']},
)
