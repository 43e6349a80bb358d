#include "sim_bytes.hpp"

#include <sapwood/fmt_library.hpp>

#include <algorithm>

namespace sapwood::detail {

namespace {

constexpr std::size_t no_limit = SIZE_MAX;

/// Of the file system.
constexpr std::size_t block_bytes = 4096;

std::size_t sector_of(std::size_t byte) noexcept {
    return byte / sim_bytes::sector_bytes;
}

/// One past the last sector that bytes before `end` are in.
std::size_t sector_end(std::size_t end) noexcept {
    return (end + sim_bytes::sector_bytes - 1) / sim_bytes::sector_bytes;
}

/// Of a text, what a sector has of it below `limit`.
std::string_view sector_of_text(std::string_view text, std::size_t sector,
                                std::size_t limit) noexcept {
    const std::size_t begin = sector * sim_bytes::sector_bytes;
    const std::size_t end = std::min({begin + sim_bytes::sector_bytes, text.size(), limit});
    return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

/// Whether `found`, a sector's bytes as far as the file goes, is `text` and then zeros.
bool is_padded(std::string_view found, std::string_view text) noexcept {
    const std::size_t common = std::min(found.size(), text.size());
    return found.substr(0, common) == text.substr(0, common) &&
           std::all_of(found.begin() + static_cast<std::ptrdiff_t>(common), found.end(),
                       [](char byte) { return byte == '\0'; });
}

} // namespace

void sim_bytes::write(std::size_t at, std::span<const char> bytes) {
    const std::size_t before = cached_.size();
    const std::size_t end = at + bytes.size();
    change made{.begin = at,
                .end = end,
                .size_before = before,
                .size_after = std::max(before, end),
                .undo_at = undo_.size(),
                .undo_size = 0};
    if (at < before) {
        const auto first = cached_.begin() + static_cast<std::ptrdiff_t>(at);
        made.undo_size = std::min(end, before) - at;
        undo_.insert(undo_.end(), first, first + static_cast<std::ptrdiff_t>(made.undo_size));
    }
    if (end > before) {
        cached_.resize(end);
    }
    std::copy(bytes.begin(), bytes.end(), cached_.begin() + static_cast<std::ptrdiff_t>(at));
    changes_.push_back(made);
}

void sim_bytes::resize(std::size_t size) {
    const std::size_t before = cached_.size();
    if (size == before) {
        return;
    }
    change made{.begin = size,
                .end = size,
                .size_before = before,
                .size_after = size,
                .undo_at = undo_.size(),
                .undo_size = 0};
    if (size < before) {
        // The rest of the block is zeroed where it is, which may be on the disk before the length.
        made.end = std::min((size + block_bytes - 1) / block_bytes * block_bytes, before);
        made.undo_size = before - size;
        undo_.insert(undo_.end(), cached_.begin() + static_cast<std::ptrdiff_t>(size),
                     cached_.end());
    }
    cached_.resize(size);
    changes_.push_back(made);
}

template <class Version>
void sim_bytes::visit_versions(std::size_t kept, std::size_t newest, Version&& version) const {
    std::vector<char> state = cached_;
    std::size_t limit = no_limit; // what was cut off later does not come back
    for (std::size_t i = changes_.size(); i-- > 0;) {
        const change& made = changes_[i];
        if (i < newest) {
            const std::string_view text(state.data(), state.size());
            for (std::size_t sector = sector_of(made.begin);
                 made.begin != made.end && sector < sector_end(made.end); ++sector) {
                if (changes_before_ + i >= synced_at(sector)) {
                    version(sector, sector_of_text(text, sector, limit));
                }
            }
            if (i < kept && made.size_after < made.size_before) {
                limit = std::min(limit, made.size_after);
            }
        }
        state.resize(made.size_before);
        std::copy_n(undo_.begin() + static_cast<std::ptrdiff_t>(made.undo_at), made.undo_size,
                    state.begin() + static_cast<std::ptrdiff_t>(made.begin));
    }
}

std::uint64_t sim_bytes::synced_at(std::size_t sector) const noexcept {
    std::uint64_t at = 0;
    for (const synced_range& range : synced_) {
        if (sector >= range.begin && sector < range.end) {
            at = std::max(at, range.changes);
        }
    }
    return at;
}

void sim_bytes::forget_changes() noexcept {
    changes_before_ += changes_.size();
    changes_.clear();
    undo_.clear();
    synced_.clear();
    sized_ = 0;
}

void sim_bytes::write_back(std::size_t sector) {
    const std::string_view text = sector_of_text(cached(), sector, no_limit);
    const std::size_t begin = sector * sector_bytes;
    if (disk_.size() < begin + text.size()) {
        disk_.resize(begin + text.size());
    }
    std::copy(text.begin(), text.end(), disk_.begin() + static_cast<std::ptrdiff_t>(begin));
}

/// What this change has cut off does not come back, but where a later sync of a range has put
/// something.
void sim_bytes::clear_cut_off(std::size_t index) {
    const change& made = changes_[index];
    if (made.size_after >= made.size_before) {
        return;
    }
    for (std::size_t at = made.size_after; at < disk_.size();) {
        const std::size_t sector = sector_of(at);
        const std::size_t end = std::min((sector + 1) * sector_bytes, disk_.size());
        if (synced_at(sector) <= changes_before_ + index) {
            std::fill(disk_.begin() + static_cast<std::ptrdiff_t>(at),
                      disk_.begin() + static_cast<std::ptrdiff_t>(end), '\0');
        }
        at = end;
    }
}

void sim_bytes::sync(std::uint64_t mark) {
    const std::size_t count =
        mark <= changes_before_
            ? 0
            : std::min<std::size_t>(changes_.size(),
                                    static_cast<std::size_t>(mark - changes_before_));
    if (count == 0) {
        return;
    }
    const std::size_t size = changes_[count - 1].size_after;
    for (std::size_t i = 0; i < count; ++i) {
        clear_cut_off(i);
    }
    disk_.resize(std::max(size, disk_.size()));
    if (count == changes_.size()) {
        for (const change& made : changes_) {
            for (std::size_t sector = sector_of(made.begin);
                 made.begin != made.end && sector < sector_end(made.end); ++sector) {
                write_back(sector);
            }
        }
        disk_.resize(size);
        forget_changes();
        return;
    }
    // As of the mark: what came later may still be undone.
    std::vector<bool> is_written(sector_end(size));
    visit_versions(count, count, [&](std::size_t sector, std::string_view text) {
        if (sector < is_written.size() && !is_written[sector]) {
            is_written[sector] = true;
            const std::size_t begin = sector * sector_bytes;
            const std::size_t room = std::min(text.size(), disk_.size() - begin);
            std::copy_n(text.begin(), room, disk_.begin() + static_cast<std::ptrdiff_t>(begin));
        }
    });
    if (sized_ <= count) { // else a sync of a range, which was later, has made it so long
        disk_.resize(size);
    }
    changes_.erase(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(count));
    changes_before_ += count;
    sized_ -= std::min(sized_, count);
    std::erase_if(synced_,
                  [this](const synced_range& range) { return range.changes <= changes_before_; });
}

void sim_bytes::sync_range(std::size_t begin, std::size_t end) {
    const std::size_t first = sector_of(begin);
    const std::size_t last = sector_end(end);
    const bool is_all = std::all_of(changes_.begin(), changes_.end(), [&](const change& made) {
        return made.size_after >= made.size_before && made.begin != made.end &&
               sector_of(made.begin) >= first && sector_end(made.end) <= last;
    });
    if (is_all) {
        sync(mark());
        return;
    }
    for (std::size_t sector = first; sector < last; ++sector) {
        write_back(sector);
    }
    synced_.push_back({first, last, mark()});
    sized_ = changes_.size();
}

void sim_bytes::lose(sim_random& chance) {
    const bool is_all_lost = chance.one_in(2);
    // What was cut off, if that is not on the disk yet; what came there since is not counted.
    std::vector<char> cut_off;
    if (sized_ == 0 && disk_.size() > cached_.size() && chance.one_in(2)) {
        cut_off.assign(disk_.begin() + static_cast<std::ptrdiff_t>(cached_.size()), disk_.end());
    }
    std::size_t limit = no_limit;
    std::size_t reached = 0;
    // A sync of a range has made durable what the length was then.
    const std::size_t before = sized_ > 0 ? changes_[sized_ - 1].size_after : disk_.size();
    for (std::size_t i = 0; i < changes_.size(); ++i) {
        clear_cut_off(i);
    }
    for (std::size_t i = sized_; i < changes_.size(); ++i) {
        limit = std::min(limit, changes_[i].size_after);
    }
    for (const change& made : changes_) {
        for (std::size_t sector = sector_of(made.begin);
             made.begin != made.end && sector < sector_end(made.end); ++sector) {
            if (!is_all_lost && chance.one_in(2)) {
                write_back(sector);
                reached = std::max(reached, std::min((sector + 1) * sector_bytes, cached_.size()));
            }
        }
    }
    if (!changes_.empty()) {
        const std::size_t least = std::max(std::min(before, limit), reached);
        disk_.resize(std::min(cached_.size(), chance.one_in(2) ? cached_.size() : least));
    }
    forget_changes();
    if (!cut_off.empty()) {
        const std::size_t size = cached_.size();
        disk_.resize(size);
        disk_.insert(disk_.end(), cut_off.begin(), cut_off.end());
        undo_ = std::move(cut_off);
        changes_.push_back(
            {.begin = size,
             .end = std::min((size + block_bytes - 1) / block_bytes * block_bytes, disk_.size()),
             .size_before = disk_.size(),
             .size_after = size,
             .undo_at = 0,
             .undo_size = undo_.size()});
    }
}

void sim_bytes::cut(sim_random& chance) {
    enum class mood : std::uint8_t { all_kept, all_dropped, mixed };
    const std::uint64_t die = chance.below(4);
    const mood how = die == 0 ? mood::all_kept : die == 1 ? mood::all_dropped : mood::mixed;
    if (changes_.empty()) {
        cached_ = disk_;
        return;
    }
    const std::size_t kept = how == mood::all_kept      ? changes_.size()
                             : how == mood::all_dropped ? sized_
                                                        : chance.between(sized_, changes_.size());
    std::size_t size = kept == 0 ? disk_.size() : changes_[kept - 1].size_after;
    if (kept > sized_ && how == mood::mixed) {
        const change& last = changes_[kept - 1];
        size = grows_by_write(last) ? chance.between(last.size_before, last.size_after) : size;
    }
    std::vector<char> result(size);
    std::vector<std::uint32_t> seen(sector_end(size), 1);
    const auto put = [&](std::size_t sector, std::string_view text) {
        const auto begin = static_cast<std::ptrdiff_t>(sector * sector_bytes);
        const auto end = std::min(begin + static_cast<std::ptrdiff_t>(sector_bytes),
                                  static_cast<std::ptrdiff_t>(size));
        text = text.substr(0, static_cast<std::size_t>(end - begin));
        std::fill(std::copy(text.begin(), text.end(), result.begin() + begin), result.begin() + end,
                  '\0');
    };
    for (std::size_t sector = 0; sector < seen.size(); ++sector) {
        put(sector, disk_version(sector, kept));
    }
    visit_versions(kept, changes_.size(), [&](std::size_t sector, std::string_view text) {
        if (sector >= seen.size()) {
            return;
        }
        const std::uint32_t count = ++seen[sector];
        // The newest comes first; of several each is as likely.
        if (how == mood::all_kept ? count == 2 : how == mood::mixed && chance.one_in(count)) {
            put(sector, text);
        }
    });
    cached_ = std::move(result);
    disk_ = cached_;
    forget_changes();
}

/// What a sector reads as of which nothing was written since the last sync.
std::string_view sim_bytes::disk_version(std::size_t sector, std::size_t kept) const noexcept {
    const std::uint64_t since = synced_at(sector);
    std::size_t limit = no_limit;
    for (std::size_t i = 0; i < kept; ++i) {
        if (changes_[i].size_after < changes_[i].size_before && changes_before_ + i >= since) {
            limit = std::min(limit, changes_[i].size_after);
        }
    }
    return sector_of_text(durable(), sector, limit);
}

bool sim_bytes::evict() {
    if (!changes_.empty() || cached_ == disk_) {
        return false;
    }
    cached_ = disk_;
    return true;
}

std::optional<std::string> sim_bytes::objection(std::string_view found) const {
    std::string why = fmt::format("a length of {}", found.size());
    for (std::size_t kept = sized_; kept <= changes_.size(); ++kept) {
        const bool is_last_torn = kept > sized_ && grows_by_write(changes_[kept - 1]);
        const std::size_t size_most = kept == 0 ? disk_.size() : changes_[kept - 1].size_after;
        const std::size_t size_least = is_last_torn ? changes_[kept - 1].size_before : size_most;
        if (found.size() < size_least || found.size() > size_most) {
            continue;
        }
        std::vector<bool> matches(sector_end(found.size()));
        for (std::size_t sector = 0; sector < matches.size(); ++sector) {
            matches[sector] =
                is_padded(sector_of_text(found, sector, no_limit), disk_version(sector, kept));
        }
        visit_versions(kept, changes_.size(), [&](std::size_t sector, std::string_view text) {
            if (sector < matches.size() && !matches[sector]) {
                const std::string_view of_found = sector_of_text(found, sector, no_limit);
                matches[sector] = is_padded(of_found, text.substr(0, of_found.size()));
            }
        });
        const auto wrong = std::find(matches.begin(), matches.end(), false);
        if (wrong == matches.end()) {
            return std::nullopt;
        }
        why = fmt::format("with a length of {} what bytes from {} on are", found.size(),
                          static_cast<std::size_t>(wrong - matches.begin()) * sector_bytes);
    }
    return why;
}

void sim_bytes::clear() noexcept {
    cached_.clear();
    disk_.clear();
    forget_changes();
    changes_before_ = 0;
}

} // namespace sapwood::detail
