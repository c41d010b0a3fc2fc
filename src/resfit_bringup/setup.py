from pathlib import Path

from setuptools import find_packages, setup

package_name = 'resfit_bringup'
share = 'share/' + package_name


def data(folder):
    """Install what lies below a folder of this package to the same place below share."""
    folders = [Path(folder), *(path for path in sorted(Path(folder).rglob('*')) if path.is_dir())]
    return [
        (f'{share}/{path}', [str(file) for file in sorted(path.iterdir()) if file.is_file()])
        for path in folders
        if path.is_dir() and path.name != '__pycache__'
    ]


setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    package_data={package_name: ['py.typed', 'page/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        (share, ['package.xml']),
        *(entry for folder in ('config', 'description', 'hook', 'launch') for entry in data(folder)),
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
