"""The words for keys that records and knowledge share, in both languages; a key that nobody lists here reads as it is."""

from collections.abc import Mapping
from typing import Any

from assistant.model import GenerationKind
from assistant.replies import FailureReason
from domain.accounts import BuyingRole, Channel, LifecycleStage
from domain.activities import ActivityKind
from domain.deals import Stance
from domain.kernel import Text

INDUSTRIES = {
    "hospital": Text("医院", "hospital"),
    "clinic": Text("诊所与体检", "clinics"),
    "medical_device": Text("医疗器械制造", "medical device making"),
    "automotive_parts": Text("汽车零部件", "automotive parts"),
    "electronics": Text("电子制造", "electronics"),
    "machinery": Text("装备机械", "machinery"),
    "food_pharma": Text("食品医药", "food and pharma"),
}
CONCERNS = {
    "price_too_high": Text("价格太高", "price too high"),
    "budget_not_approved": Text("预算没批", "budget not approved"),
    "using_competitor": Text("已在用竞品", "using a competitor"),
    "competitor_cheaper": Text("竞品更便宜", "a competitor is cheaper"),
    "not_now": Text("暂时不需要", "not now"),
    "need_approval": Text("要领导拍板", "needs approval"),
    "roi_unclear": Text("投入产出不清楚", "return unclear"),
    "quality_doubt": Text("担心质量与稳定性", "quality doubted"),
    "integration": Text("系统对接与兼容", "integration"),
    "data_security": Text("数据安全", "data security"),
    "delivery_time": Text("交期", "delivery time"),
    "after_sales": Text("售后服务", "after-sales service"),
    "payment_terms": Text("付款条件与账期", "payment terms"),
    "contract_terms": Text("合同条款", "contract terms"),
    "switching_cost": Text("更换与培训成本", "cost of switching"),
    "brand_unknown": Text("品牌不知名", "brand unknown"),
    "compliance_cert": Text("资质与注册证", "certificates"),
    "past_bad_experience": Text("以前体验不好", "bad past experience"),
    "need_trial": Text("要先试用", "wants a trial first"),
}
BUYING_ROLES = {
    BuyingRole.ECONOMIC_BUYER: Text("经济决策人", "economic buyer"),
    BuyingRole.DECISION_MAKER: Text("拍板人", "decision maker"),
    BuyingRole.TECHNICAL_EVALUATOR: Text("技术评估", "technical evaluator"),
    BuyingRole.PURCHASING: Text("采购", "purchasing"),
    BuyingRole.FINANCE: Text("财务", "finance"),
    BuyingRole.LEGAL: Text("法务", "legal"),
    BuyingRole.CHAMPION: Text("内部支持者", "champion"),
    BuyingRole.USER: Text("使用者", "user"),
    BuyingRole.BLOCKER: Text("反对者", "blocker"),
}
STANCES = {
    Stance.SUPPORTS: Text("支持", "supports us"),
    Stance.NEUTRAL: Text("中立", "neutral"),
    Stance.OPPOSES: Text("反对", "opposes us"),
    Stance.UNKNOWN: Text("态度未知", "stance unknown"),
}
CHANNELS = {
    Channel.EMAIL: Text("邮件", "e-mail"),
    Channel.PHONE: Text("电话", "phone"),
    Channel.WECHAT: Text("微信", "WeChat"),
    Channel.SMS: Text("短信", "SMS"),
    Channel.APP: Text("应用内消息", "in-app message"),
    Channel.IN_PERSON: Text("当面", "in person"),
    Channel.MAIL: Text("信函", "letter"),
}
ACTIVITY_KINDS = {
    ActivityKind.CALL: Text("电话", "call"),
    ActivityKind.MEETING: Text("会议", "meeting"),
    ActivityKind.VISIT: Text("拜访", "visit"),
    ActivityKind.EMAIL: Text("邮件", "e-mail"),
    ActivityKind.MESSAGE: Text("消息", "message"),
    ActivityKind.TASK: Text("任务", "task"),
    ActivityKind.NOTE: Text("备注", "note"),
}
LIFECYCLE = {
    LifecycleStage.PROSPECT: Text("潜在客户", "prospect"),
    LifecycleStage.ONBOARDING: Text("导入期", "onboarding"),
    LifecycleStage.ACTIVE: Text("活跃客户", "active"),
    LifecycleStage.AT_RISK: Text("有流失风险", "at risk"),
    LifecycleStage.CHURNED: Text("已流失", "churned"),
}
KINDS = {
    GenerationKind.VISIT_BRIEF: Text("拜访作战包", "visit brief"),
    GenerationKind.OBJECTION_REPLY: Text("异议应答", "objection reply"),
    GenerationKind.REACTIVATION_SCRIPT: Text("二次激活话术", "reactivation script"),
}
FAILURES = {
    FailureReason.NOT_CONFIGURED: Text("没有配置好", "it is not configured"),
    FailureReason.CONNECTION: Text("连接不上", "it cannot be reached"),
    FailureReason.RATE_LIMITED: Text("请求过多，被限流", "it is rate limited"),
    FailureReason.SERVER_ERROR: Text("服务出错", "its server failed"),
    FailureReason.REJECTED: Text("请求被拒绝", "it rejected the request"),
    FailureReason.DEADLINE: Text("没有在时限内答复", "it did not answer in time"),
    FailureReason.EMPTY: Text("答复是空的", "its reply was empty"),
    FailureReason.CUT_OFF: Text("答复不完整", "its reply was cut off"),
    FailureReason.REPETITION: Text("答复不断重复", "its reply repeated itself"),
    FailureReason.REFUSED: Text("拒绝作答", "it refused to answer"),
    FailureReason.NOT_JSON: Text("答复无法读取", "its reply could not be read"),
    FailureReason.SCHEMA_MISMATCH: Text("答复的格式不对", "its reply had the wrong form"),
}
PASSAGE_KEYS = {
    "客户怎么说": "utterances", "how customers put it": "utterances",
    "承接": "acknowledge", "acknowledge": "acknowledge",
    "回应": "answer", "answer": "answer", "答": "answer",
    "证据": "proof", "proof": "proof",
    "下一步": "next_step", "next step": "next_step",
    "材料": "materials", "materials": "materials",
    "开场": "opening", "opening": "opening",
    "要点": "key_points", "key points": "key_points",
    "追问": "questions", "questions": "questions", "要问的问题": "questions", "questions to ask": "questions",
    "收尾": "close", "close": "close",
    "客户": "customer", "customer": "customer",
    "问题": "problem", "problem": "problem",
    "做法": "what_we_did", "what we did": "what_we_did",
    "结果": "result", "result": "result",
    "一句话": "in_one_line", "in one line": "in_one_line",
    "他们怎么说": "they_say", "what they say": "they_say",
    "我们强在哪": "we_win", "where we win": "we_win",
    "他们强在哪": "they_win", "where they win": "they_win",
    "这样说": "say_this", "say this": "say_this",
    "是什么": "what_it_is", "what it is": "what_it_is",
    "关键指标": "key_figures", "key figures": "key_figures",
    "适合": "fits", "fits": "fits",
    "不适合": "does_not_fit", "does not fit": "does_not_fit",
    "变化": "change", "what changed": "change",
    "适用": "applies_to", "applies to": "applies_to",
    "合规风险": "risk", "compliance risk": "risk",
    "怎么做": "what_to_do", "what to do": "what_to_do",
}  # fmt: skip
"""The headings by which curators cut entries (demo/README.md), as keys that skills ask for."""


def label(table: Mapping[Any, Text], key: str | None) -> Text:
    """The words for a key."""
    return table.get(key or "", Text(key or "", key or ""))
