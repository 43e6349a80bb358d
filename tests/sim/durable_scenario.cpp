#include "durable_scenario.hpp"

#include "account.hpp"
#include "durable_counts.hpp"
#include "durable_log.hpp"
#include "mover.hpp"
#include "somebody.hpp"

#include <sapwood/errors.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/when_all.hpp>

#include <algorithm>
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
constexpr std::uint32_t late_producer = 5;

struct stage {
    sim_world& world;
    account& told;
    pipeline& log;
    knowledge& known;
    /// Producers wait so long between two records, at most.
    std::uint64_t pause_microseconds;
};

/// Waits for what it has been promised, at one level or the other, or not at all.
task<> await_receipt(stage on, accepted_record record) {
    sim_random& chance = on.world.chance();
    const std::uint64_t die = chance.below(4);
    if (die == 0) {
        co_return;
    }
    const bool is_durable = die != 1;
    std::error_code refused;
    if (is_durable) {
        const auto got = co_await as_result(on.log.durable(record.place));
        refused = got.error();
    } else {
        const auto got = co_await as_result(on.log.written(record.place));
        refused = got.error();
    }
    if (refused == std::errc::operation_canceled) {
        throw cancelled{};
    }
    if (on.world.has_crashed()) {
        co_return;
    }
    on.known.durable += is_durable && !refused ? 1 : 0;
    if (is_durable && !refused) {
        on.known.acknowledged = std::max(on.known.acknowledged, record.place);
    }
    on.known.lost += refused == errc::lost ? 1 : 0;
    check_counts(on.log.counts(), on.known);
    on.told.tell(record.producer, record.number,
                 refused == errc::lost ? account::state::lost
                 : refused             ? account::state::refused
                 : is_durable          ? account::state::durable
                                       : account::state::written);
}

/// lsn::none where it is refused.
task<lsn> append_one(stage on, std::uint32_t producer, std::string line) {
    const std::uint32_t number = on.told.last_number(producer);
    lsn place = lsn::none;
    try {
        record item(level::info, producer, line,
                    record::time_point(on.world.now().time_since_epoch()));
        item.set_sequence(number + 1);
        place = co_await on.log.append(std::move(item));
    } catch (const std::system_error&) {
        on.told.tell(producer, number, account::state::refused);
        ++on.known.refused;
    }
    if (place != lsn::none) {
        on.known.accepted.push_back({producer, number, place});
        if (!on.world.has_crashed()) {
            check_counts(on.log.counts(), on.known);
        }
    }
    co_return place;
}

task<> produce(stage on, std::uint32_t producer, std::uint64_t records) {
    for (; records > 0 && !on.world.has_crashed(); --records) {
        sim_random& chance = on.world.chance();
        const std::size_t filler = chance.one_in(8) ? chance.below(2000) : chance.below(80);
        std::string line = on.told.next_line(producer, filler);
        const std::uint32_t number = on.told.last_number(producer);
        const lsn place = co_await append_one(on, producer, std::move(line));
        if (place == lsn::none) {
            co_await sleep_for(milliseconds(1));
            continue;
        }
        co_await await_receipt(on, {producer, number, place});
        if (chance.one_in(4)) {
            co_await sleep_for(microseconds(chance.below(on.pause_microseconds)));
        }
    }
}

/// Somebody has been at the log's names, and is gone for a second.
task<> come_late(stage on, const mover& moved) {
    if (on.world.has_crashed()) {
        co_return;
    }
    std::string line = on.told.next_line(late_producer, 0);
    const std::uint32_t number = on.told.last_number(late_producer);
    const lsn place = co_await append_one(on, late_producer, line);
    if (place == lsn::none) {
        co_return;
    }
    const auto got = co_await as_result(on.log.durable(place));
    if (got.error() == std::errc::operation_canceled) {
        throw cancelled{};
    }
    if (!got || on.world.has_crashed()) {
        co_return;
    }
    ++on.known.durable;
    on.told.tell(late_producer, number, account::state::durable);
    if (!on.known.wrong && !moved.is_named(line)) {
        on.known.wrong = "a second after the log was moved it is still written under other names";
    }
}

pipeline_options options_by(sim_random& chance) {
    pipeline_options options;
    options.queue_records = chance.between(1, 16);
    options.batch_bytes = chance.between(1, 2000);
    options.linger = microseconds(chance.below(500));
    options.durable = chance.one_in(3) ? durability::interval(microseconds(chance.below(5000)))
                                       : durability::batch();
    constexpr when_refused policies[] = {when_refused::automatic, when_refused::end,
                                         when_refused::block, when_refused::refuse,
                                         when_refused::drop};
    options.refused = policies[chance.below(5)];
    options.give_up_after = milliseconds(chance.below(2000));
    options.unsynced_bytes_max = chance.between(1, 4000);
    options.writeback_bytes = chance.between(1, 300);
    options.segment_bytes_max = chance.one_in(3) ? chance.between(1, 3000) : 0;
    return options;
}

/// All that is acknowledged at this moment, and who is told so in a moment.
void forgive(const stage& on) {
    on.told.forgive();
    const lsn durable = on.log.counts().durable;
    for (const accepted_record& each : on.known.accepted) {
        if (each.place <= durable) {
            on.told.tell(each.producer, each.number, account::state::forgiven);
        }
    }
}

/// The seeds of those who come.
struct visitors {
    std::optional<std::uint64_t> somebody;
    std::optional<std::uint64_t> vandal;
    std::optional<std::uint64_t> rival;
    std::optional<std::uint64_t> mover;
};

task<> move_and_write(stage on, mover& moved, std::uint64_t seed) {
    co_await moved.move_about(seed, [on] { forgive(on); });
    co_await come_late(on, moved);
}

task<> life(sim_world& world, account& told, life_result& result, visitors who, std::string path,
            mover* moved) {
    std::optional<pipeline> log;
    bool is_preallocated = false;
    try {
        const pipeline_options options = options_by(world.chance());
        const file_sink_options file{
            .path = path,
            .make_directories = who.mover && world.chance().one_in(2),
            .preallocated_bytes = world.chance().one_in(3) ? world.chance().between(1, 20'000) : 0,
            .cached_bytes_max = world.chance().between(1, 2000)};
        is_preallocated = file.preallocated_bytes != 0;
        log.emplace(co_await pipeline::open(file, options));
    } catch (const std::system_error&) {
        co_return; // the disk would not have it
    }
    log->on_loss([](const std::string&) {});
    result.known.begin = log->counts().durable;
    if (!world.has_crashed()) {
        result.known.wrong = objection_to_last(result.known.begin, result.known.acknowledged);
    }
    const bool is_slow = who.mover && world.chance().one_in(2);
    const stage on{world, told, *log, result.known, is_slow ? 700'000u : 3000u};
    std::vector<task<>> producers;
    const std::uint64_t count = world.chance().between(1, 5);
    for (std::uint32_t producer = 0; producer < count; ++producer) {
        producers.push_back(produce(on, producer, world.chance().between(1, 8)));
    }
    if (who.somebody && !is_preallocated) { // to which nobody else may append
        producers.push_back(append_somebodys(world, path, *who.somebody));
    }
    if (who.vandal) {
        producers.push_back(destroy(world, path, *who.vandal, [on] { forgive(on); }));
    }
    if (who.mover) {
        producers.push_back(move_and_write(on, *moved, *who.mover));
    }
    bool has_rival = false;
    if (who.rival) {
        producers.push_back(contend(world, path, *who.rival, [&] { has_rival = true; }));
    }
    co_await when_all(std::move(producers));
    bool has_failed = false;
    try {
        co_await log->close();
    } catch (const std::system_error&) {
        has_failed = true;
    }
    if (!world.has_crashed()) {
        if (has_rival && !has_failed) {
            result.known.wrong = "another writer could open the log while it was written";
        }
        result.counts = log->counts();
        check_counts(*result.counts, result.known);
        result.is_closed_well = !has_failed;
    }
}

/// A log that a vandal was at has what was acknowledged as durable since, whatever else is wrong
/// with its file. One that was moved has all that it should, wherever that is now.
std::optional<std::string> check(sim_world& world, account& told, const life_result& lived,
                                 const visitors& had, const std::string& path, const mover* moved) {
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
    const account::state kept = is_destroyed ? account::state::durable : account::state::written;
    const bool is_anywhere = is_destroyed || moved != nullptr;
    if (auto wrong = told.objection(
            is_anywhere ? found.all : found.messages,
            {.kept = kept, .may_be_torn = is_anywhere, .in_any_order = is_anywhere})) {
        return wrong;
    }
    return lived.counts && !is_destroyed ? check_losses(lived, told) : std::nullopt;
}

} // namespace

outcome play_durable(std::uint64_t seed, bool traces) {
    sim_world world(options_of(seed, traces));
    account told;
    outcome result;
    std::uint64_t evicted = 0;
    visitors had;
    lsn acknowledged = lsn::none;
    const std::string path = log_path_of(world, seed);
    const std::uint64_t lives = world.chance().between(1, 3);
    const std::unique_ptr<mover> moved = mover::of_lives(world, path, seed, lives);
    for (std::uint64_t number = 1; number <= lives && !result.violation; ++number) {
        plan_outage(world);
        life_result lived;
        lived.known.acknowledged = acknowledged;
        // Not both: who cuts a log and makes it as long as it was before anybody looks is not seen.
        const auto somebody = somebody_of(seed, number);
        visitors who{somebody, std::nullopt, std::nullopt, std::nullopt};
        if (!somebody) {
            who.vandal = vandal_of(seed, number);
            who.mover = who.vandal ? std::nullopt : mover_of(seed, number);
            // Who finds no log makes one.
            who.rival = who.vandal || who.mover ? std::nullopt : rival_of(seed, number);
        }
        const std::optional<sim_crash> crash = plan_crash(world, who.mover ? 400 : 120);
        had.somebody = who.somebody ? who.somebody : had.somebody;
        had.vandal = who.vandal ? who.vandal : had.vandal;
        const bool has_ended = world.run(life(world, told, lived, who, path, moved.get()));
        if (world.has_hung()) {
            result.violation = "the process hung";
            break;
        }
        // Where somebody destroys the log, or takes it away, its numbers begin anew.
        acknowledged = had.vandal || moved != nullptr ? lsn::none : lived.known.acknowledged;
        result.violation = lived.known.wrong;
        if (!result.violation && lived.counts) {
            result.violation = check_account(lived);
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
            if (!lived.is_closed_well) {
                lived.counts.reset(); // what it had not synced it did not promise
            }
        }
        if (!result.violation && (number == lives || world.chance().one_in(2))) {
            result.violation = open_again(world, path, moved.get(), acknowledged);
            if (!result.violation) {
                result.violation = check(world, told, lived, had, path, moved.get());
            }
        }
        world.set_faults(options_of(seed, traces).faults);
    }
    result.acknowledged = told.count(account::state::durable);
    finish(world, result);
    return result;
}

} // namespace sapwood::simulation
