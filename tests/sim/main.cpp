// Plays scenarios on simulated machines, seed by seed: `./dev sim`. What is violated is told with
// its seed, and played again with a trace of every operation. Scenarios that are controls have a
// mistake in them, and fail where it is not found.
#include "captured_standard_error.hpp"
#include "scenario.hpp"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace sapwood::simulation;

/// Violations of one scenario that are told; more of them only count.
constexpr std::uint64_t told_max = 3;

struct wishes {
    std::uint64_t seeds = 1000;
    std::uint64_t seed = 1;
    bool has_seed = false;
    std::string_view name;
    bool lists = false;
    bool tells_all = false;
};

void usage(std::FILE* to) {
    std::fputs(
        "usage: ./dev sim [--seeds N] [--seed S] [--scenario NAME] [--all] [--list]\n\n"
        "  --seeds N        so many seeds for each scenario, 1000 by default\n"
        "  --seed S         the first of them, 1 by default; without --seeds that one alone, "
        "with its trace\n"
        "  --scenario NAME  that one alone\n"
        "  --all            tell of every seed that fails, and play none again; otherwise of "
        "three, "
        "the first of them with its trace\n"
        "  --list           what there is\n",
        to);
}

std::optional<std::uint64_t> number_of(std::string_view text) {
    std::uint64_t value = 0;
    const auto got = std::from_chars(text.data(), text.data() + text.size(), value);
    if (got.ec != std::errc{} || got.ptr != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

[[noreturn]] void refuse(const std::string& why) {
    std::fprintf(stderr, "sim: %s\n", why.c_str());
    usage(stderr);
    std::exit(2);
}

wishes wishes_of(int argc, char** argv) {
    wishes wanted;
    bool has_seeds = false;
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--help" || name == "-h") {
            usage(stdout);
            std::exit(0);
        }
        if (name == "--list") {
            wanted.lists = true;
            continue;
        }
        if (name == "--all") {
            wanted.tells_all = true;
            continue;
        }
        if (i + 1 == argc || (name != "--seeds" && name != "--seed" && name != "--scenario")) {
            refuse("unknown option, or no value behind it: " + std::string(name));
        }
        const std::string_view value = argv[++i];
        if (name == "--scenario") {
            wanted.name = value;
            continue;
        }
        const auto number = number_of(value);
        if (!number || (name == "--seeds" && *number == 0)) {
            refuse("not a number: " + std::string(value));
        }
        (name == "--seeds" ? wanted.seeds : wanted.seed) = *number;
        has_seeds = has_seeds || name == "--seeds";
        wanted.has_seed = wanted.has_seed || name == "--seed";
    }
    if (wanted.has_seed && !has_seeds) {
        wanted.seeds = 1;
    }
    return wanted;
}

/// What is being played, for when an assertion ends the program.
volatile std::uint64_t seed_now = 0;
const char* volatile name_now = "";

extern "C" void tell_seed(int number) {
    captured_standard_error::release();
    std::fprintf(stderr, "sim: ended in %s: ./dev sim --scenario %s --seed %llu\n", name_now,
                 name_now, static_cast<unsigned long long>(seed_now));
    std::signal(number, SIG_DFL);
    std::raise(number);
}

/// What the simulated processes have said, so that nobody takes it for this machine's.
void append_said(std::string_view text, std::vector<std::string>& trace) {
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        trace.push_back("    said on standard error: " + std::string(text.substr(0, end)));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

outcome play_one(const scenario& played, std::uint64_t seed, bool traces) {
    seed_now = seed;
    name_now = played.name.data(); // a literal
    const captured_standard_error captured;
    try {
        outcome found = played.play(seed, traces);
        if (traces) {
            append_said(captured.text(), found.trace);
        }
        return found;
    } catch (const std::exception& failure) {
        outcome failed;
        failed.violation = std::string("an exception came through: ") + failure.what();
        return failed;
    }
}

void print_trace(const scenario& played, std::uint64_t seed) {
    const outcome again = play_one(played, seed, true);
    for (const std::string& line : again.trace) {
        std::printf("%s\n", line.c_str());
    }
    std::printf("%s: seed %llu, digest %016llx: %s\n", std::string(played.name).c_str(),
                static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(again.digest),
                again.violation.value_or("all is well").c_str());
}

/// Whether it came out as it should.
bool play(const scenario& played, const wishes& wanted) {
    const std::clock_t began = std::clock();
    std::uint64_t violations = 0;
    std::uint64_t operations = 0;
    std::uint64_t crashes = 0;
    std::uint64_t acknowledged = 0;
    std::uint64_t found_at = 0;
    const std::uint64_t seeds =
        played.is_control ? std::min<std::uint64_t>(wanted.seeds, 100) : wanted.seeds;
    for (std::uint64_t i = 0; i < seeds; ++i) {
        const std::uint64_t seed = wanted.seed + i;
        const outcome found = play_one(played, seed, false);
        operations += found.operations;
        crashes += found.crashes;
        acknowledged += found.acknowledged;
        if (!found.violation) {
            continue;
        }
        found_at = violations == 0 ? i + 1 : found_at;
        if ((++violations <= told_max || wanted.tells_all) && !played.is_control) {
            std::printf("%s: seed %llu: %s\n", std::string(played.name).c_str(),
                        static_cast<unsigned long long>(seed), found.violation->c_str());
            if (violations == 1 && !wanted.tells_all) {
                print_trace(played, seed);
                std::printf("again: ./dev sim --scenario %s --seed %llu\n",
                            std::string(played.name).c_str(),
                            static_cast<unsigned long long>(seed));
            }
        }
        if (played.is_control) {
            break;
        }
    }
    const double seconds =
        static_cast<double>(std::clock() - began) / static_cast<double>(CLOCKS_PER_SEC);
    if (played.is_control) {
        std::printf("%-16s %s\n", std::string(played.name).c_str(),
                    violations != 0
                        ? ("its mistake is found by seed " + std::to_string(found_at)).c_str()
                        : "ITS MISTAKE IS NOT FOUND");
        return violations != 0;
    }
    std::printf("%-16s %llu %s, %llu violations; %llu operations, %llu crashes, %llu "
                "acknowledged; %.1f s of CPU, %.0f a second\n",
                std::string(played.name).c_str(), static_cast<unsigned long long>(seeds),
                seeds == 1 ? "seed" : "seeds", static_cast<unsigned long long>(violations),
                static_cast<unsigned long long>(operations),
                static_cast<unsigned long long>(crashes),
                static_cast<unsigned long long>(acknowledged), seconds,
                static_cast<double>(seeds) / std::max(seconds, 1e-9));
    return violations == 0;
}

} // namespace

int main(int argc, char** argv) {
    const wishes wanted = wishes_of(argc, argv);
    for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) {
        std::signal(number, tell_seed);
    }
    bool is_well = true;
    bool is_known = false;
    for (const scenario& each : scenarios()) {
        if (wanted.lists) {
            std::printf("%-16s %s\n", std::string(each.name).c_str(),
                        std::string(each.what).c_str());
            continue;
        }
        if (!wanted.name.empty() && wanted.name != each.name) {
            continue;
        }
        is_known = true;
        if (wanted.has_seed && wanted.seeds == 1) {
            if (!wanted.name.empty()) {
                print_trace(each, wanted.seed);
            }
        }
        is_well = play(each, wanted) && is_well;
        std::fflush(stdout);
    }
    if (!wanted.lists && !is_known) {
        refuse("there is no scenario " + std::string(wanted.name));
    }
    return is_well ? EXIT_SUCCESS : EXIT_FAILURE;
}
