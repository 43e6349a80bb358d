// What nearly every test includes, compiled once.

#include "support/co_test.hpp"

#include <sapwood/sapwood.hpp>

#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <vector>
