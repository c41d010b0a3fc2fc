from setuptools import find_packages, setup

package_name = 'resfit_learner'

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
    description='What runs on the training machine: replay log, off-policy residual learner, base policy training.',
    license='Apache-2.0',
    extras_require={'test': ['pytest']},
    entry_points={
        'console_scripts': [
            'bag_eval_node = resfit_learner.start:bag_eval_node',
            'learner_node = resfit_learner.start:learner_node',
            'replay_node = resfit_learner.start:replay_node',
        ]
    },
)
