"""What the kinds of jobs are called."""

from domain.kernel import Text

LABELS = {
    "refresh_measures": Text("经营视图刷新", "The figures of the business are computed anew"),
    "count_effects": Text("知识成效重新统计", "How well knowledge works is counted anew"),
    "compare_passages": Text("知识条目查重与口径核对", "Entries are compared for look-alikes and differing figures"),
    "propose_retirements": Text("生成下架建议", "Entries are proposed for retirement"),
    "expire_quotes": Text("报价到期", "Quotes expire"),
    "forget_content_requests": Text("清理内容接口记录", "Old requests to the content API are forgotten"),
    "close_interrupted": Text("关闭中断的生成", "Answers that were interrupted are closed"),
    "keep_signals": Text("信号按月分区与清理", "Months of signals are made ready, and old ones removed"),
    "deliver": Text("发出已获准的文本", "A released text is sent"),
    "deliver_due": Text("重试待发文本", "Texts that wait are sent again"),
    "escalate_work_items": Text("升级逾期工作项", "Work items that are overdue move up"),
    "clear_outbox": Text("清理已处理的事件", "Events that were handled are removed"),
    "remind_keepers": Text(
        "提醒知识负责人：条目即将到期或需复核", "Owners are reminded of entries that expire or are due for another look"
    ),
    "remind_of_lead": Text("提醒负责人：线索尚未响应", "The owner is reminded of a lead without a reply"),
    "escalate_lead": Text("升级到经理看板：线索尚未响应", "The managers are told of a lead without a reply"),
}
