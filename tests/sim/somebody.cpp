#include "somebody.hpp"

#include "sim_machine.hpp"

#include <sapwood/file.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/sleep.hpp>

#include <chrono>
#include <fcntl.h>
#include <iterator>
#include <system_error>

namespace sapwood::simulation {

namespace {

using namespace std::string_view_literals;

/// Half a line of a child that was killed, zeros, a text, and what a child has written whole.
constexpr std::string_view pieces[] = {
    "0000000000000000 deadbeef somebody's half of a li\n"sv,
    "somebody's\0line\n"sv,
    "somebody was here\n"sv,
    "0000000000000000 421fb769 2026-11-26 12:00:00.000 1 info somebody's child\n"sv,
};

constexpr std::uint64_t piece_kinds = std::size(pieces);

} // namespace

std::optional<std::uint64_t> somebody_of(std::uint64_t seed, std::uint64_t life) noexcept {
    sim_random chance(seed * 0xd1342543de82ef95 + life);
    const std::uint64_t his = chance.next();
    return chance.one_in(4) ? std::optional(his) : std::nullopt;
}

task<> append_somebodys(sim_world& world, std::string path, std::uint64_t seed) {
    sim_random chance(seed);
    for (std::uint64_t left = chance.between(1, 4); left > 0 && !world.has_crashed(); --left) {
        co_await sleep_for(std::chrono::microseconds(chance.below(4000)));
        std::string_view piece = pieces[chance.below(piece_kinds)];
        if (chance.one_in(3)) {
            piece = piece.substr(0, chance.between(1, piece.size()));
        }
        try {
            file other = co_await file::open(path, {.flags = O_WRONLY | O_APPEND});
            co_await other.write_all(piece);
            co_await other.close();
        } catch (const std::system_error&) {
            // The file is not there now, or the disk is full.
        }
    }
}

std::optional<std::uint64_t> vandal_of(std::uint64_t seed, std::uint64_t life) noexcept {
    sim_random chance(seed * 0x9e3779b97f4a7c15 + life);
    const std::uint64_t his = chance.next();
    return chance.one_in(6) ? std::optional(his) : std::nullopt;
}

task<> destroy(sim_world& world, std::string path, std::uint64_t seed,
               std::function<void()> striking) {
    sim_random chance(seed);
    for (std::uint64_t left = chance.between(1, 2); left > 0; --left) {
        co_await sleep_for(std::chrono::microseconds(chance.below(20'000)));
        if (world.has_crashed()) {
            co_return;
        }
        striking();
        detail::sim_files& files = world.machine().files;
        if (chance.one_in(3)) {
            (void)files.remove(AT_FDCWD, path, 0);
        } else if (const int fd = files.open(AT_FDCWD, path, O_WRONLY, 0, 0); fd >= 0) {
            const auto size = world.contents(path).value_or("").size();
            (void)files.truncate(
                fd, chance.one_in(2) ? 0 : static_cast<std::int64_t>(chance.below(size + 1)));
            (void)files.close(fd);
        }
    }
}

std::optional<std::uint64_t> rival_of(std::uint64_t seed, std::uint64_t life) noexcept {
    sim_random chance(seed * 0xbf58476d1ce4e5b9 + life);
    const std::uint64_t his = chance.next();
    return chance.one_in(8) ? std::optional(his) : std::nullopt;
}

task<> contend(sim_world& world, std::string path, std::uint64_t seed,
               std::function<void()> opened) {
    sim_random chance(seed);
    for (std::uint64_t left = chance.between(1, 6); left > 0; --left) {
        co_await sleep_for(std::chrono::microseconds(chance.below(5000)));
        if (world.has_crashed()) {
            co_return;
        }
        try {
            const file_sink_options options{.path = path, .numbered = true};
            file_sink his = co_await file_sink::open(options);
            if (!world.has_crashed()) {
                opened();
            }
            co_await his.close();
        } catch (const std::system_error&) {
            // It is being written; or the disk fails.
        }
    }
}

bool is_somebodys(std::string_view line) noexcept {
    return line.find("somebody") != line.npos;
}

} // namespace sapwood::simulation
