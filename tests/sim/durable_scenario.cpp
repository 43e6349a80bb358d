#include "durable_scenario.hpp"

#include "account.hpp"
#include "durable_log.hpp"
#include "quiet_standard_error.hpp"
#include "somebody.hpp"

#include <sapwood/errors.hpp>
#include <sapwood/pipeline.hpp>
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

constexpr std::string_view name = "log";

/// A record that the pipeline took, in this life.
struct accepted_record {
    std::uint32_t producer;
    std::uint32_t number;
    lsn place;
};

/// What the producers of one life know, by which the log's counts are judged.
struct knowledge {
    std::vector<accepted_record> accepted;
    std::uint64_t refused = 0;
    std::uint64_t durable = 0;
    std::uint64_t lost = 0;
    /// The number before the life's first.
    lsn begin = lsn::none;
    std::optional<std::string> wrong;
};

struct stage {
    sim_world& world;
    account& told;
    pipeline& log;
    knowledge& known;
};

/// At any moment: accepted = durable + written only + lost + in flight, and each of these is what
/// the numbers and those who have been told of them allow.
void check_counts(const pipeline_counts& counts, knowledge& known) {
    const std::uint64_t kept = counts.records_durable + counts.records_written_only;
    const std::uint64_t durable_to = to_number(counts.durable) - to_number(known.begin);
    const std::uint64_t written_to = to_number(counts.written) - to_number(known.begin);
    const bool adds_up =
        kept + counts.records_lost + counts.records_in_flight == counts.records_accepted &&
        kept <= counts.records_accepted && counts.records_in_flight <= counts.records_accepted;
    const bool fits = counts.records_durable <= durable_to && kept <= written_to &&
                      counts.records_durable + counts.records_lost >= durable_to &&
                      kept + counts.records_lost >= written_to;
    const bool is_as_told = counts.records_accepted >= known.accepted.size() &&
                            counts.records_durable >= known.durable &&
                            counts.records_lost >= known.lost;
    if (!known.wrong && !(adds_up && fits && is_as_told)) {
        known.wrong = fmt::format(
            "of {} accepted records {} are counted as durable, {} as written only, {} as lost and "
            "{} in flight; {} numbers are durable, {} written; {} were told to be durable, {} lost",
            counts.records_accepted, counts.records_durable, counts.records_written_only,
            counts.records_lost, counts.records_in_flight, durable_to, written_to, known.durable,
            known.lost);
    }
}

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
    on.known.lost += refused == errc::lost ? 1 : 0;
    check_counts(on.log.counts(), on.known);
    on.told.tell(record.producer, record.number,
                 refused == errc::lost ? account::state::lost
                 : refused             ? account::state::refused
                 : is_durable          ? account::state::durable
                                       : account::state::written);
}

task<> produce(stage on, std::uint32_t producer, std::uint64_t records) {
    for (; records > 0 && !on.world.has_crashed(); --records) {
        sim_random& chance = on.world.chance();
        const std::size_t filler = chance.one_in(8) ? chance.below(2000) : chance.below(80);
        const std::string line = on.told.next_line(producer, filler);
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
        if (place == lsn::none) {
            co_await sleep_for(milliseconds(1));
            continue;
        }
        on.known.accepted.push_back({producer, number, place});
        if (!on.world.has_crashed()) {
            check_counts(on.log.counts(), on.known);
        }
        co_await await_receipt(on, {producer, number, place});
        if (chance.one_in(4)) {
            co_await sleep_for(microseconds(chance.below(3000)));
        }
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

struct life_result {
    knowledge known;
    /// It was closed, and says so much of what became of the records.
    std::optional<pipeline_counts> counts;
    bool is_closed_well = false;
};

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
};

task<> life(sim_world& world, account& told, life_result& result, visitors who) {
    const std::string path = fmt::format("/{}", name);
    std::optional<pipeline> log;
    bool is_preallocated = false;
    try {
        const pipeline_options options = options_by(world.chance());
        const file_sink_options file{
            .path = path,
            .preallocated_bytes = world.chance().one_in(3) ? world.chance().between(1, 20'000) : 0};
        is_preallocated = file.preallocated_bytes != 0;
        log.emplace(co_await pipeline::open(file, options));
    } catch (const std::system_error&) {
        co_return; // the disk would not have it
    }
    log->on_loss([](const std::string&) {});
    result.known.begin = log->counts().durable;
    const stage on{world, told, *log, result.known};
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

/// What is lost is not there, and nothing else is missing.
std::optional<std::string> check_losses(const life_result& lived, const account& told) {
    const pipeline_counts& counts = *lived.counts;
    const auto& accepted = lived.known.accepted;
    std::uint64_t missing = 0;
    for (const accepted_record& each : accepted) {
        missing += told.is_found(each.producer, each.number) ? 0 : 1;
    }
    // Where a sync or a close has failed, more may be there than was promised.
    if (missing > counts.records_lost || (lived.is_closed_well && missing < counts.records_lost)) {
        return fmt::format("{} of {} accepted records are not in the log, and {} were reported as "
                           "lost",
                           missing, accepted.size(), counts.records_lost);
    }
    return std::nullopt;
}

/// A log that has ended has counted what its producers know, and has nothing in flight any more.
std::optional<std::string> check_account(const life_result& lived) {
    const pipeline_counts& counts = *lived.counts;
    const auto& accepted = lived.known.accepted;
    if (counts.records != accepted.size() || counts.records_accepted != accepted.size() ||
        counts.records_refused != lived.known.refused || counts.records_in_flight != 0) {
        return fmt::format("{} records were accepted and {} refused; counted are {} and {}, and {} "
                           "in flight",
                           accepted.size(), lived.known.refused, counts.records_accepted,
                           counts.records_refused, counts.records_in_flight);
    }
    if (lived.is_closed_well && (counts.durable != counts.accepted ||
                                 counts.records_durable != accepted.size() - counts.records_lost)) {
        return fmt::format("the log was closed, and of {} numbers {} are durable, {} records",
                           to_number(counts.accepted), to_number(counts.durable),
                           counts.records_durable);
    }
    return std::nullopt;
}

/// The next process opens it, and nothing fails.
std::optional<std::string> reopen(sim_world& world) {
    std::optional<std::string> wrong;
    world.heal();
    const std::string path = fmt::format("/{}", name);
    const bool has_ended = world.run([](std::string where) -> task<> {
        const file_sink_options file{.path = where, .numbered = true};
        file_sink sink = co_await file_sink::open(file);
        co_await sink.close();
    }(path));
    return has_ended ? wrong : "opening the log again did not come to an end";
}

/// A log that a vandal was at has what was acknowledged as durable since, whatever else is wrong
/// with its file.
std::optional<std::string> check(const sim_world& world, account& told, const life_result& lived,
                                 const visitors& had) {
    const bool may_be_torn = had.somebody || had.vandal;
    const durable_log found =
        durable_log::read(world, name, true, may_be_torn, had.vandal.has_value());
    if (found.wrong) {
        return found.wrong;
    }
    if (had.vandal) {
        return told.objection(found.all, {.may_be_torn = true, .in_any_order = true});
    }
    if (auto wrong = told.objection(found.messages, {.kept = account::state::written})) {
        return wrong;
    }
    return lived.counts ? check_losses(lived, told) : std::nullopt;
}

} // namespace

outcome play_durable(std::uint64_t seed, bool traces) {
    const quiet_standard_error quiet(!traces);
    sim_world world(options_of(seed, traces));
    account told;
    outcome result;
    std::uint64_t evicted = 0;
    visitors had;
    const std::uint64_t lives = world.chance().between(1, 3);
    for (std::uint64_t number = 1; number <= lives && !result.violation; ++number) {
        plan_outage(world);
        const std::optional<sim_crash> crash = plan_crash(world, 120);
        life_result lived;
        // Not both: who cuts a log and makes it as long as it was before anybody looks is not seen.
        const auto somebody = somebody_of(seed, number);
        visitors who{somebody, std::nullopt, std::nullopt};
        if (!somebody) {
            who.vandal = vandal_of(seed, number);
            // Who finds no log makes one.
            who.rival = who.vandal ? std::nullopt : rival_of(seed, number);
        }
        had.somebody = who.somebody ? who.somebody : had.somebody;
        had.vandal = who.vandal ? who.vandal : had.vandal;
        const bool has_ended = world.run(life(world, told, lived, who));
        if (world.has_hung()) {
            result.violation = "the process hung";
            break;
        }
        result.violation = lived.known.wrong;
        if (!result.violation && lived.counts) {
            result.violation = check_account(lived);
        }
        const bool is_gone =
            std::exchange(evicted, world.counts().evicted) != world.counts().evicted;
        if (is_gone || (!has_ended && crash == sim_crash::power_cut)) {
            told.power_was_cut();
        }
        if (has_ended && !world.chance().one_in(4)) {
            world.crash(sim_crash::power_cut);
            told.power_was_cut();
            if (!lived.is_closed_well) {
                lived.counts.reset(); // what it had not synced it did not promise
            }
        }
        if (!result.violation && (number == lives || world.chance().one_in(2))) {
            result.violation = reopen(world);
            if (!result.violation) {
                result.violation = check(world, told, lived, had);
            }
            world.set_faults(options_of(seed, traces).faults);
        }
    }
    result.acknowledged = told.count(account::state::durable);
    finish(world, result);
    return result;
}

} // namespace sapwood::simulation
