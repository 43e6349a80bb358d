#include "logger_scenario.hpp"

#include "account.hpp"
#include "durable_log.hpp"
#include "mover.hpp"
#include "sim_machine.hpp"
#include "somebody.hpp"

#include <sapwood/errors.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/rotating_log_sink.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/when_all.hpp>

#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace sapwood::simulation {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

/// Of the record behind all others of a life in which somebody moved the log.
constexpr std::uint32_t late_producer = 4;

struct logged_record {
    std::uint32_t producer;
    std::uint32_t number;
    std::string line;
};

/// What is of one life.
struct stage {
    sim_world& world;
    account& told;
    const logger& log;
    /// Producers wait so long between two records, at most.
    std::uint64_t pause_microseconds;
    std::vector<logged_record> logged{};
    /// How many there were when somebody last asked for durability.
    std::size_t asked = 0;
    std::optional<std::string> wrong{};
};

/// At any moment: accepted = dropped + taken + in the rings, and each output has told what has
/// become of all that it was given.
void check_stats(stage& on) {
    if (on.wrong || on.world.has_crashed()) {
        return;
    }
    const log_stats stats = on.log.stats();
    if (stats.accepted != on.logged.size() ||
        stats.accepted != stats.dropped() + stats.taken + stats.in_rings) {
        on.wrong = fmt::format("{} records were logged and {} are counted: {} dropped, {} taken, "
                               "{} in the rings",
                               on.logged.size(), stats.accepted, stats.dropped(), stats.taken,
                               stats.in_rings);
    }
    for (const log_output_stats& each : stats.outputs) {
        if (stats.taken + stats.notes + each.notes !=
            each.written + each.unwanted + each.held_back + each.lost + each.in_flight) {
            on.wrong = fmt::format("of {} lines for {} {} are counted as written, {} as lost and "
                                   "{} in flight",
                                   stats.taken + stats.notes + each.notes, each.sink, each.written,
                                   each.lost, each.in_flight);
        }
    }
}

/// What this thread has logged since somebody last asked is on disk, or it throws. Whether it is.
task<bool> await_durable(stage& on) {
    const std::size_t begin = std::exchange(on.asked, on.logged.size());
    const std::size_t end = on.logged.size();
    bool is_durable = false;
    try {
        co_await on.log.durable();
        is_durable = true;
    } catch (const std::system_error&) {
    }
    check_stats(on);
    is_durable = is_durable && !on.world.has_crashed();
    for (std::size_t i = begin; is_durable && i < end; ++i) {
        on.told.tell(on.logged[i].producer, on.logged[i].number, account::state::durable);
    }
    co_return is_durable;
}

task<> await_written(stage& on, std::uint32_t producer, std::uint32_t number,
                     std::uint64_t dropped_before) {
    bool is_written = false;
    try {
        co_await on.log.flush();
        is_written = on.log.stats().dropped() == dropped_before;
    } catch (const std::system_error&) {
    }
    check_stats(on);
    if (is_written && !on.world.has_crashed()) {
        on.told.tell(producer, number, account::state::written);
    }
}

task<> produce(stage& on, std::uint32_t producer, std::uint64_t records) {
    for (; records > 0 && !on.world.has_crashed(); --records) {
        sim_random& chance = on.world.chance();
        const std::string line =
            on.told.next_line(producer, chance.one_in(8) ? chance.below(500) : chance.below(80));
        const std::uint32_t at = on.told.last_number(producer);
        const std::uint64_t dropped_before = on.log.stats().dropped();
        on.log.text(level::info, line);
        on.logged.push_back({producer, at, line});
        const std::uint64_t die = chance.below(5);
        if (die < 3) {
            (void)co_await await_durable(on);
        } else if (die == 3) {
            co_await await_written(on, producer, at, dropped_before);
        }
        if (chance.one_in(8)) {
            on.log.rotate();
        }
        if (chance.one_in(4)) {
            co_await sleep_for(microseconds(chance.below(on.pause_microseconds)));
        }
    }
}

std::unique_ptr<log_sink> sink_by(const sim_world& world, sim_random& chance,
                                  const std::string& path) {
    const durability level = chance.one_in(3)
                                 ? durability::interval(microseconds(chance.below(5000)))
                                 : durability::batch();
    const std::size_t unsynced = chance.between(1, 4000);
    const std::size_t writeback = chance.between(1, 300);
    if (chance.one_in(2)) {
        file_log_sink_options options{.path = path};
        options.durable = level;
        options.unsynced_bytes_max = unsynced;
        options.writeback_bytes = writeback;
        return std::make_unique<file_log_sink>(options);
    }
    rotating_log_sink_options options{.path = path};
    options.bytes_max = chance.one_in(3) ? 0 : chance.between(1, 3000);
    options.durable = level;
    options.unsynced_bytes_max = unsynced;
    options.writeback_bytes = writeback;
    options.now = [&world] {
        return std::chrono::system_clock::time_point(
            std::chrono::ceil<std::chrono::system_clock::duration>(world.now().time_since_epoch()) +
            std::chrono::days(20'000));
    };
    return std::make_unique<rotating_log_sink>(options);
}

logger_options options_by(sim_world& world, const std::string& path) {
    sim_random& chance = world.chance();
    // The date and the thread are not the world's.
    const text_layout_options form{.pattern = "2026-11-26 12:00:00.000 1 %l %v"};
    logger_options options;
    options.threshold = level::info;
    options.ring_bytes = std::size_t{4096} << chance.below(3);
    options.linger = microseconds(chance.below(500));
    options.crash_handler = false;
    options.outputs.push_back({.sink = sink_by(world, chance, path),
                               .form = std::make_unique<text_layout>(form),
                               .batch_bytes = chance.between(1, 2000)});
    if (chance.one_in(4)) {
        options.outputs.push_back({.sink = std::make_unique<null_log_sink>()});
    }
    return options;
}

/// All that is acknowledged at this moment, and what is on the disk, of which it may be said any
/// moment now.
void forgive(const stage& on) {
    on.told.forgive();
    std::string there;
    on.world.machine().files.visit_regular(
        [&](const std::string&, const detail::sim_files::inode& file) {
            there += file.bytes.durable();
        });
    for (const logged_record& each : on.logged) {
        if (there.find(each.line) != there.npos) {
            on.told.tell(each.producer, each.number, account::state::forgiven);
        }
    }
}

/// The seeds of those who come.
struct visitors {
    std::optional<std::uint64_t> somebody;
    std::optional<std::uint64_t> vandal;
    std::optional<std::uint64_t> mover;
};

struct life_result {
    bool is_closed_well = false;
    std::optional<std::string> wrong;
};

task<> move_and_write(stage& on, mover& moved, std::uint64_t seed) {
    co_await moved.move_about(seed, [&on] { forgive(on); });
    if (on.world.has_crashed()) {
        co_return;
    }
    // Somebody has been at the log's names, and is gone for a second.
    const std::string line = on.told.next_line(late_producer, 0);
    on.log.text(level::info, line);
    on.logged.push_back({late_producer, on.told.last_number(late_producer), line});
    const bool is_durable = co_await await_durable(on);
    if (is_durable && !on.wrong && !moved.is_named(line)) {
        on.wrong = "a second after the log was moved it is still written under other names";
    }
}

task<> life(sim_world& world, account& told, life_result& result, visitors who, std::string path,
            mover* moved) {
    std::optional<logger> log;
    try {
        logger_options options = options_by(world, path);
        log.emplace(co_await logger::on_this_loop(options));
    } catch (const std::system_error&) {
        co_return; // the disk would not have it
    }
    const bool is_slow = who.mover && world.chance().one_in(2);
    stage on{world, told, *log, is_slow ? 700'000u : 3000u};
    std::vector<task<>> producers;
    const std::uint64_t count = world.chance().between(1, 4);
    for (std::uint32_t producer = 0; producer < count; ++producer) {
        producers.push_back(produce(on, producer, world.chance().between(1, 8)));
    }
    if (who.somebody) {
        producers.push_back(append_somebodys(world, path, *who.somebody));
    }
    if (who.vandal) {
        producers.push_back(destroy(world, path, *who.vandal, [&on] { forgive(on); }));
    }
    if (who.mover) {
        producers.push_back(move_and_write(on, *moved, *who.mover));
    }
    co_await when_all(std::move(producers));
    try {
        co_await log->close();
        result.is_closed_well = log->stats().dropped() == 0 && log->stats().outputs[0].lost == 0;
    } catch (const std::system_error&) {
    }
    check_stats(on);
    result.wrong = on.wrong;
    if (!result.wrong && !world.has_crashed() &&
        (log->stats().in_rings != 0 || log->stats().outputs[0].in_flight != 0)) {
        result.wrong = "a log that has ended has records in flight";
    }
    if (result.is_closed_well && !world.has_crashed()) {
        for (const logged_record& each : on.logged) {
            told.tell(each.producer, each.number, account::state::durable);
        }
    }
}

/// A log that a vandal was at has what was acknowledged as durable since, whatever else is wrong.
/// One that was moved has all that it should, wherever that is now.
std::optional<std::string> check(sim_world& world, account& told, const visitors& had,
                                 const std::string& path, const mover* moved) {
    const bool may_be_torn = had.somebody || had.vandal;
    const durable_log found = moved != nullptr ? durable_log::read_moved(world, path, may_be_torn)
                                               : durable_log::read(world, path, true, may_be_torn,
                                                                   had.vandal.has_value());
    if (found.wrong) {
        return found.wrong;
    }
    if (moved != nullptr) {
        if (auto wrong = moved->objection()) {
            return wrong;
        }
    }
    const bool is_destroyed = had.vandal || (moved != nullptr && moved->has_destroyed());
    const bool is_anywhere = is_destroyed || moved != nullptr;
    return told.objection(is_anywhere ? found.all : found.messages,
                          {.kept = is_destroyed ? account::state::durable : account::state::written,
                           .may_be_torn = is_anywhere,
                           .in_any_order = is_anywhere});
}

} // namespace

outcome play_logger(std::uint64_t seed, bool traces) {
    sim_world world(options_of(seed, traces));
    account told;
    outcome result;
    std::uint64_t evicted = 0;
    visitors had;
    const std::string path = log_path_of(world, seed);
    const std::uint64_t lives = world.chance().between(1, 3);
    const std::unique_ptr<mover> moved = mover::of_lives(world, path, seed, lives);
    for (std::uint64_t number = 1; number <= lives && !result.violation; ++number) {
        plan_outage(world);
        life_result lived;
        // Not both, as in the durable scenario.
        const auto somebody = somebody_of(seed, number);
        visitors who{somebody, std::nullopt, std::nullopt};
        if (!somebody) {
            who.vandal = vandal_of(seed, number);
            who.mover = who.vandal ? std::nullopt : mover_of(seed, number);
        }
        const std::optional<sim_crash> crash = plan_crash(world, who.mover ? 400 : 120);
        had.somebody = who.somebody ? who.somebody : had.somebody;
        had.vandal = who.vandal ? who.vandal : had.vandal;
        const bool has_ended = world.run(life(world, told, lived, who, path, moved.get()));
        if (world.has_hung()) {
            result.violation = "the process hung";
            break;
        }
        const bool is_gone =
            std::exchange(evicted, world.counts().evicted) != world.counts().evicted;
        if (!has_ended && crash == sim_crash::power_cut) {
            told.power_was_cut();
        } else if (is_gone) {
            told.pages_were_dropped(durable_log::messages_in_making(world, path));
        }
        if (has_ended && !world.chance().one_in(4)) {
            world.crash(sim_crash::power_cut);
            told.power_was_cut();
        }
        result.violation = lived.wrong;
        if (auto wrong = open_again(world, path, moved.get()); wrong || result.violation) {
            result.violation = result.violation ? result.violation : wrong;
        } else {
            result.violation = check(world, told, had, path, moved.get());
        }
        world.set_faults(options_of(seed, traces).faults);
    }
    result.acknowledged = told.count(account::state::durable);
    finish(world, result);
    return result;
}

} // namespace sapwood::simulation
