#include "harness/machine.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <system_error>

#include <sched.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace bench {

namespace {

// The value behind the first line that starts with `name` in a "name : value" file below /proc.
std::string proc_value(const char* path, std::string_view name) {
    std::ifstream file{path};
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(name)) {
            continue;
        }
        const std::size_t colon = line.find(':');
        if (colon == std::string::npos) {
            continue;
        }
        const std::size_t start = line.find_first_not_of(" \t", colon + 1);
        return start == std::string::npos ? "" : line.substr(start);
    }
    return "unknown";
}

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

std::string build() {
    std::string text;
#if defined(__OPTIMIZE__)
    text = "optimized";
#else
    text = "NOT OPTIMIZED";
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    text += ", SANITIZED";
#endif
#if defined(NDEBUG)
    text += ", without assert()";
#endif
    return text;
}

std::string cpus() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return "unknown";
    }
    return fmt::format("{} usable", CPU_COUNT(&set));
}

} // namespace

facts machine_facts() {
    utsname names{};
    uname(&names);
    std::string load;
    std::getline(std::ifstream{"/proc/loadavg"}, load);
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    return {
        {"date", fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(now))},
        {"cpu", proc_value("/proc/cpuinfo", "model name")},
        {"cpus", cpus()},
        {"memory", proc_value("/proc/meminfo", "MemTotal")},
        {"kernel", fmt::format("{} {}", names.sysname, names.release)},
        {"load before", load},
        {"compiler", compiler()},
        {"build", build()},
    };
}

std::string file_system_of(const std::string& path) {
    struct stat status {};

    if (stat(path.c_str(), &status) != 0) {
        throw std::system_error{errno, std::generic_category(), "cannot use " + path};
    }
    const std::string device = fmt::format("{}:{}", major(status.st_dev), minor(status.st_dev));
    // Fields of a mountinfo line: id, parent, device, root, mount point, options, ..., "-", type.
    std::ifstream mounts{"/proc/self/mountinfo"};
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream fields{line};
        std::string id;
        std::string parent;
        std::string its_device;
        fields >> id >> parent >> its_device;
        const std::size_t dash = line.find(" - ");
        if (its_device == device && dash != std::string::npos) {
            std::string type;
            std::istringstream{line.substr(dash + 3)} >> type;
            return type;
        }
    }
    return "unknown";
}

std::string program_directory() {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

void print_facts(const facts& all) {
    std::size_t width = 0;
    for (const auto& [name, content] : all) {
        width = std::max(width, name.size());
    }
    for (const auto& [name, content] : all) {
        fmt::print("  {:<{}}  {}\n", name, width, content);
    }
}

void write_facts(json_writer& out, const facts& all) {
    out.begin_object();
    for (const auto& [name, content] : all) {
        out.member(name, content);
    }
    out.end_object();
}

} // namespace bench
