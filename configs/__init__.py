"""The YAML files of every command and part; installed as the package `nas.configs`."""
