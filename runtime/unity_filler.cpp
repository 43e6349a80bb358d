// Nothing: see unity_filler in meson.build.
