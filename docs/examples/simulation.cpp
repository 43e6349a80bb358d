// Two ways to save a file, on a thousand machines whose power is cut.

#include <sapwood/file.hpp>
#include <sapwood/sim_world.hpp>
#include <sapwood/whole_file.hpp>

#include <cstdint>
#include <cstdio>
#include <string>

using sapwood::task;

// A new file beside the old one, and a rename over it. What is missing?
task<> save_by_rename(std::string text) {
    sapwood::file fresh =
        co_await sapwood::file::open("/settings.new", {.flags = O_WRONLY | O_CREAT});
    co_await fresh.write_all(text);
    co_await fresh.close();
    co_await sapwood::rename_file("/settings.new", "/settings");
}

task<> save_whole(std::string text) {
    co_await sapwood::write_whole_file("/settings", text);
}

// How many of a thousand power cuts leave neither the old settings nor the new ones.
int broken_by(task<> (*save)(std::string)) {
    int broken = 0;
    for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
        sapwood::sim_world world({.seed = seed});
        world.put("/settings", "old");
        world.crash_at(world.chance().between(1, 10), sapwood::sim_crash::power_cut);
        if (world.run(save("new"))) {
            world.crash(sapwood::sim_crash::power_cut); // it was faster
        }
        const auto found = world.contents("/settings");
        broken += found == "old" || found == "new" ? 0 : 1;
    }
    return broken;
}

int main() {
    std::printf("by a rename: %s\n", broken_by(save_by_rename) > 0 ? "settings are lost" : "safe");
    std::printf("write_whole_file: %s\n", broken_by(save_whole) > 0 ? "settings are lost" : "safe");
}
