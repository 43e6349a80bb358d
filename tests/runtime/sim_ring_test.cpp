// The simulated machine: that it is the same each time, that each fault is reached, and each rule
// of its disk.
#include <sapwood/sim_world.hpp>

#include <sapwood/directory.hpp>
#include <sapwood/file.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <doctest/doctest.h>
#include <string>
#include <string_view>

namespace {

using namespace std::chrono_literals;
using sapwood::file;
using sapwood::sim_crash;
using sapwood::sim_faults;
using sapwood::sim_world;
using sapwood::task;

task<> append(std::string path, std::string text, bool synced) {
    file log = co_await file::open(path, {.flags = O_WRONLY | O_APPEND | O_CREAT});
    co_await log.write_all(text);
    if (synced) {
        co_await log.datasync();
        sapwood::directory folder = co_await sapwood::directory::open("/");
        co_await folder.sync();
    }
    co_await log.close();
}

} // namespace

TEST_SUITE("sim_ring") {
    TEST_CASE("what a process writes the next one reads") {
        sim_world world;
        CHECK(world.run(append("/log", "one\n", false)));
        CHECK(world.run(append("/log", "two\n", false)));
        CHECK(world.contents("/log") == "one\ntwo\n");
    }
}
