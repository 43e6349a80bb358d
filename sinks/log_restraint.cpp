#include <sapwood/log_restraint.hpp>

#include <sapwood/log_escape.hpp>

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <stdexcept>

namespace sapwood::detail {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t sample_bytes_max = 80;

constexpr clock::duration again_after = std::chrono::milliseconds(100);

constexpr std::string_view why_repeats = "the same as the one before";

void validate(const log_rate& rate, std::string_view name) {
    if (rate.records > 0 && rate.interval.count() < rate.records) {
        throw std::invalid_argument(fmt::format(
            "log_limits: {}.interval must be a nanosecond for each record at least", name));
    }
    // The sum of a record's time and that of a whole burst is still a time.
    constexpr std::int64_t burst_ns_max = std::chrono::nanoseconds(100 * 365 * 24h).count();
    if (rate.records > 0 &&
        rate.interval.count() / rate.records > burst_ns_max / std::max(rate.records, rate.burst)) {
        throw std::invalid_argument(fmt::format(
            "log_limits: {}.interval and burst must not come to more than a hundred years", name));
    }
}

std::string text_of(std::chrono::nanoseconds duration) {
    constexpr std::pair<std::int64_t, std::string_view> units[] = {
        {1'000'000'000, "s"}, {1'000'000, "ms"}, {1'000, "us"}};
    for (const auto& [ns, name] : units) {
        if (duration.count() % ns == 0) {
            return fmt::format("{} {}", duration.count() / ns, name);
        }
    }
    return fmt::format("{} ns", duration.count());
}

std::uint64_t site_of(const log_record& record) {
    std::uint64_t site =
        std::uint64_t{record.logger_id} << 8 | static_cast<std::uint64_t>(record.importance);
    for_each_field(record.fields, [&](const log_field_view& field) {
        if (field.kind == log_field_kind::site && field.value.size() == sizeof(site)) {
            std::memcpy(&site, field.value.data(), sizeof(site));
        }
    });
    return site;
}

} // namespace

log_restraint::log_restraint(const log_limits& limits)
    : limits_(limits),
      why_site_(fmt::format("more than {} in {} from one place in the program",
                            limits.each_call_site.records,
                            text_of(limits.each_call_site.interval))),
      why_all_(
          fmt::format("more than {} in {}", limits.all.records, text_of(limits.all.interval))) {
    validate(limits.each_call_site, "each_call_site");
    validate(limits.all, "all");
    if (limits.repeats_within.count() < 0) {
        throw std::invalid_argument("log_limits: repeats_within must not be negative");
    }
}

bool log_restraint::admits(const log_record& record, clock::time_point now, teller& to) {
    if (limits_.repeats_within.count() > 0) {
        if (repeats(record)) {
            hold(repetitions_, record, saturating_add(now, limits_.repeats_within));
            return false;
        }
        tell(repetitions_, why_repeats, to);
        has_last_ = false; // until it is let through
    }
    if (limits_.each_call_site.records > 0) {
        bucket& site = bucket_of(record);
        if (!takes(site, limits_.each_call_site, record, now)) {
            return false;
        }
        tell(site.back, why_site_, to);
    }
    if (limits_.all.records > 0) {
        if (!takes(all_, limits_.all, record, now)) {
            return false;
        }
        tell(all_.back, why_all_, to);
    }
    if (limits_.repeats_within.count() > 0) {
        remember(record);
    }
    return true;
}

bool log_restraint::repeats(const log_record& record) const noexcept {
    const std::int64_t since = record.when.time_since_epoch().count() - last_ns_;
    return has_last_ && record.importance == last_level_ && record.logger_id == last_logger_ &&
           since >= 0 && since < limits_.repeats_within.count() &&
           record.message.size() == last_message_bytes_ &&
           record.message.size() + record.fields.size() == last_.size() &&
           last_.starts_with(record.message) && last_.ends_with(record.fields);
}

void log_restraint::remember(const log_record& record) {
    last_.assign(record.message);
    last_.append(record.fields);
    last_message_bytes_ = record.message.size();
    last_level_ = record.importance;
    last_logger_ = record.logger_id;
    last_ns_ = record.when.time_since_epoch().count();
    has_last_ = true;
}

/// By the records' own times: a log that was held up is not to look like a burst.
bool log_restraint::takes(bucket& from, const log_rate& rate, const log_record& record,
                          clock::time_point now) {
    const std::int64_t each = rate.interval.count() / rate.records;
    const std::int64_t burst = rate.burst > 0 ? rate.burst : rate.records;
    const std::int64_t at = record.when.time_since_epoch().count();
    // Where somebody has set the clock back, the bucket is empty at the most.
    from.full_at_ns = std::min(from.full_at_ns, at + burst * each);
    if (from.full_at_ns - at > (burst - 1) * each) {
        hold(from.back, record, now + rate.interval);
        return false;
    }
    from.full_at_ns = std::max(from.full_at_ns, at) + each;
    return true;
}

void log_restraint::hold(held& in, const log_record& record, clock::time_point due) {
    if (in.records == 0) {
        std::string sample(cut_at_character(record.message, sample_bytes_max));
        sample += sample.size() < record.message.size() ? "..." : "";
        in.sample = std::move(sample);
        in.highest = record.importance;
        in.due = due;
        due_ = std::min(due_, due);
    }
    in.highest = std::max(in.highest, record.importance);
    ++in.records;
    ++held_back_;
}

log_restraint::bucket& log_restraint::bucket_of(const log_record& record) {
    const std::uint64_t site = site_of(record);
    const auto found = sites_.find(site);
    if (found != sites_.end()) [[likely]] {
        return found->second;
    }
    return sites_[sites_.size() < log_call_sites_max ? site : ~std::uint64_t{0}];
}

bool log_restraint::tell(held& what, std::string_view why, teller& to) noexcept {
    if (what.records == 0) [[likely]] {
        return true;
    }
    char text[512]; // as long as it gets: memory may be what is lacking
    const auto bytes = fmt::format_to_n(text, sizeof(text), "{} record{} held back: {}, \"{}\"{}",
                                        what.records, what.records > 1 ? "s" : "", why, what.sample,
                                        what.records > 1 ? " and so on" : "")
                           .size;
    if (!to.tell_held_back({text, std::min(bytes, sizeof(text))}, what.highest)) {
        return false;
    }
    told_ += what.records;
    what = {};
    return true;
}

void log_restraint::tell_until(clock::time_point now, teller& to) noexcept {
    due_ = clock::time_point::max();
    const auto tell_if_due = [&](held& what, std::string_view why) {
        if (what.records > 0 && what.due <= now && !tell(what, why, to)) {
            what.due = saturating_add(now, again_after); // its sink fails
        }
        due_ = std::min(due_, what.due);
    };
    if (repetitions_.due <= now) {
        has_last_ = false;
    }
    tell_if_due(repetitions_, why_repeats);
    for (auto& [site, state] : sites_) {
        tell_if_due(state.back, why_site_);
    }
    tell_if_due(all_.back, why_all_);
}

} // namespace sapwood::detail
